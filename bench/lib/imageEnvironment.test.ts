import { expect, it } from 'vitest';
import { imageEnvironment, parseEnvironment } from './imageEnvironment.ts';

it('reads what a Dockerfile sets for its process', () => {
  const dockerfile = 'FROM base\nENV A=one\n# ENV B=two\nENV C_D="--x=3 --y"\nCMD ["node"]\n';
  expect(parseEnvironment(dockerfile)).toEqual({ A: 'one', C_D: '--x=3 --y' });
  expect(imageEnvironment('node-agent').NODE_OPTIONS).toContain('--max-old-space-size');
});
