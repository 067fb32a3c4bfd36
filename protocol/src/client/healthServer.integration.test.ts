import { describe, expect, it } from 'vitest';
import { HealthServer } from './healthServer.ts';

describe('the health server', () => {
  it('tells life, readiness and metrics apart', async () => {
    const state = { ready: false, fail: false };
    const server = new HealthServer(
      { port: 0 },
      {
        ready: () => state.ready,
        metrics: async () => {
          if (state.fail) throw new Error('no');
          return { contentType: 'text/plain; version=0.0.4', text: 'up 1\n' };
        },
      },
    );
    const port = await server.start();
    const get = async (at: string) => {
      const answer = await fetch(`http://127.0.0.1:${port}${at}`);
      return [answer.status, await answer.text()];
    };
    try {
      expect(await get('/healthz')).toEqual([200, 'ok\n']);
      expect(await get('/readyz')).toEqual([503, 'not ready\n']);
      state.ready = true;
      expect(await get('/readyz')).toEqual([200, 'ok\n']);
      expect(await get('/metrics')).toEqual([200, 'up 1\n']);
      expect(await get('/else')).toEqual([404, 'not found\n']);
      state.fail = true;
      expect(await get('/metrics')).toEqual([500, 'metrics failed\n']);
    } finally {
      await server.stop();
    }
  });
});
