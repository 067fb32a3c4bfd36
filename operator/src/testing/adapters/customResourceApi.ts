/** A real API server that is given custom resources, and what it says of them. */
import { KubeError } from '../../kube/client.ts';
import { listPath, resources } from '../../kube/paths.ts';
import { startApiServer, type TestApiServer } from './apiServer.ts';

export class CustomResourceApi {
  readonly server: TestApiServer;
  #number = 0;

  static async start(): Promise<CustomResourceApi> {
    return new CustomResourceApi(await startApiServer());
  }

  private constructor(server: TestApiServer) {
    this.server = server;
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  /** Of a name of its own, and strictly validated, as by kubectl. */
  create<T>(kind: 'distributions' | 'origins', spec: object): Promise<T> {
    this.#number += 1;
    const namespace = kind === 'distributions' ? 'default' : undefined;
    const resource = resources[kind];
    return this.server.admin.request<T>({
      method: 'POST',
      path: listPath(resource, namespace),
      query: { fieldValidation: 'Strict' },
      body: {
        apiVersion: resource.apiVersion,
        kind: resource.kind,
        metadata: { name: `test-${this.#number}`, ...(namespace && { namespace }) },
        spec,
      },
    });
  }
}

/** What the server says to it. Rejects when it is accepted. */
export async function refusalOf(attempt: Promise<unknown>): Promise<string> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof KubeError) return error.message;
  throw new Error('it was accepted, or nobody answered', { cause: error });
}

export interface SpecOverrides {
  readonly source?: object;
  readonly target?: object;
  readonly [field: string]: unknown;
}

/** The spec of a Distribution that is accepted, but for what a test says otherwise. */
export function specWith({ source, target, ...rest }: SpecOverrides): object {
  return {
    source: { url: 'https://cdn.example.com/a/model.bin', ...source },
    target: { path: 'models/llama', ...target },
    ...rest,
  };
}
