import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { LuaFactory } from 'wasmoon';
import { repositoryRoot } from '../cluster/paths.ts';
import { luaLiteral } from './luaLiteral.ts';
import { JUDGED } from './statuses.ts';

describe('the health script for Argo CD', () => {
  let script: string;

  beforeAll(async () => {
    script = await readFile(path.join(repositoryRoot, 'docs/argocd/health.lua'), 'utf8');
  });

  async function judge(object: object): Promise<{ status: string; message: string }> {
    const lua = await new LuaFactory().createEngine();
    try {
      return await lua.doString(`local obj = ${luaLiteral(object)}\n${script}`);
    } finally {
      lua.global.close();
    }
  }

  it.each(JUDGED)('takes $turn for $argo', async ({ object, argo }) => {
    expect((await judge(object)).status).toBe(argo);
  });

  it('says what to do of what is degraded', async () => {
    const gone = JUDGED.find(({ turn }) => turn.endsWith('whose file is gone'))!;
    expect((await judge(gone.object)).message).toMatch(/^SourceNotFound: .*; put the file there/);
  });

  it('waits for the operator where there is no status', async () => {
    expect((await judge({ metadata: { generation: 1 } })).status).toBe('Progressing');
  });
});
