import { describe, expect, it } from 'vitest';
import { anOriginPolicy } from '../testing/leasing.ts';
import { originRefusal } from './originRefusal.ts';

const URL_OF_SET = 'http://cdn.example.com/set/';

describe('Origins refuse', () => {
  const cdn = anOriginPolicy({}, { namespaces: ['ml'] });

  it('a namespace that is not allowed, and nobody where all are', () => {
    expect(originRefusal(URL_OF_SET, [], 'ml', [cdn])).toBeUndefined();
    expect(originRefusal(URL_OF_SET, [], 'web', [])).toBeUndefined();
    expect(originRefusal(URL_OF_SET, [], 'web', [anOriginPolicy({})])).toBeUndefined();
    const refusal = originRefusal(URL_OF_SET, [], 'web', [cdn]);
    expect(refusal?.reason).toBe('NamespaceNotAllowed');
    expect(refusal?.message).toMatch(
      /^spec\.source\.url: 'cdn\.example\.com' belongs to the Origin 'cdn', which does not allow the namespace 'web'; label/,
    );
  });

  it('no URL that is none: that is not theirs to say', () => {
    expect(originRefusal('https://cdn.example.com:99999/f', [], 'web', [cdn])).toBeUndefined();
  });

  it('a folder whose files are under several of them', () => {
    const big = anOriginPolicy({}, { name: 'big', hosts: ['cdn.example.com/set/big'] });
    const files = ['a', 'big/b'].map((path) => URL_OF_SET + path);
    expect(originRefusal(URL_OF_SET, files, 'ml', [cdn])).toBeUndefined();
    expect(originRefusal(URL_OF_SET, [`${URL_OF_SET}a`], 'ml', [cdn, big])).toBeUndefined();
    expect(originRefusal(URL_OF_SET, files, 'ml', [big])).toMatchObject({
      reason: 'SourceSpansOrigins',
      message: expect.stringContaining(
        "no Origin covers '/set/' on 'cdn.example.com', but the Origin 'big' covers '/set/big/b' in it; make",
      ),
    });
  });
});
