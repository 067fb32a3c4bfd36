/** What the chart's uninstall hook does, on a real API server, with the rights of the hook. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { applyObject } from '../../kube/apply.ts';
import { listPath, objectPath, resources } from '../../kube/paths.ts';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from '../../testing/adapters/apiServer.ts';
import { FINALIZER } from './api.ts';
import { letGo } from './letGo.ts';

const OTHERS = 'example.com/theirs';
const signal = new AbortController().signal;

describe('uninstalling', () => {
  let server: TestApiServer;
  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(() => server?.stop());

  const dependencies = () => ({
    client: server.uninstaller,
    clock: systemClock,
    logger: createLogger({ silent: true }),
  });

  async function make(name: string, finalizers: string[]): Promise<void> {
    const metadata = { namespace: 'default', name };
    const spec = { source: { url: `http://o.example.com/${name}` }, target: { path: name } };
    const path = listPath(resources.distributions, 'default');
    const { apiVersion, kind } = resources.distributions;
    const body = { apiVersion, kind, metadata: { ...metadata, finalizers }, spec };
    await server.admin.request({ method: 'POST', path, body });
    const object = { metadata: { ...metadata, finalizers: [FINALIZER] } };
    await applyObject(server.operator, resources.distributions, object, signal);
  }

  const read = (name: string) =>
    server.admin.request<Distribution>({
      method: 'GET',
      path: objectPath(resources.distributions, { namespace: 'default', name }),
    });

  it('lets go of every Distribution, keeps it, and leaves the finalizers of others', async () => {
    await make('ours', []);
    await make('shared', [OTHERS]);
    await make('deleted', []);
    // As a copy of it is applied to another cluster: it is not the operator's in that.
    await make('restored', [FINALIZER]);
    for (const name of ['deleted', 'restored']) {
      const path = objectPath(resources.distributions, { namespace: 'default', name });
      await server.admin.request({ method: 'DELETE', path });
    }

    await letGo({ namespace: OPERATOR_NAMESPACE }, dependencies(), signal);
    expect((await read('ours')).metadata.finalizers).toBeUndefined();
    expect((await read('shared')).metadata.finalizers).toEqual([OTHERS]);
    await expect(read('deleted')).rejects.toMatchObject({ code: 'NotFound' });
    await expect(read('restored')).rejects.toMatchObject({ code: 'NotFound' });
    await letGo({ namespace: OPERATOR_NAMESPACE }, dependencies(), signal);
  });
});
