/** `spec.source` of a Distribution: one file, or a set of files under a folder. */
import { type Static, Type } from '@sinclair/typebox';
import { MAX_MIRRORS } from '@sluice/protocol/messages.ts';
import { OBJECT_NAME, refuse, rules } from './fields.ts';
import { IPV4, NUMBER, PORT } from './hosts.ts';

/** Files of a set at most; what processes are told of them is bounded by the same number. */
export const MAX_FILES = 1_000;

/** Also of a password with a slash: to a parser the host ends there, at a port that can be none. */
const userinfoIn = (url: string) =>
  `${url}.matches('^[a-zA-Z]+://([^/?#]*@|[^/?#[]*:([^/?#]*[^0-9/?#][^/?#]*|[0-9]{6,})[/?#].*@)')`;
const DOT_SEGMENT = '^[^?#]*/[.][.]?(/|[?#]|$)';
const IS_SET = '(has(self.files) || has(self.filesFrom))';
/** What another rule has refused already is not refused twice, and no password is repeated. */
const isNoUrl = (url: string) =>
  `(${userinfoIn(url)} || !${url}.matches('^https?://[^/?#@]*([/?#]|$)'))`;
const isFile = (url: string) =>
  `(${url}.matches('^https?://[^/?#]+/([^?#]*/)?[^/?#]+([?][^#]*)?$') && !${url}.matches('${DOT_SEGMENT}'))`;
const isFolder = (url: string) =>
  `(${url}.matches('^https?://[^/?#]+/([^?#]*/)?$') && !${url}.matches('${DOT_SEGMENT}'))`;

const isHost = (url: string) =>
  `${url}.matches('^https?://([[][0-9a-fA-F:.]+[]]|[-0-9a-zA-Z._~%]+)(:(0*${PORT})?)?([/?#]|$)') && (${url}.matches('^https?://${IPV4}[.]?([:/?#]|$)') || !${url}.matches('^https?://([^/?#:]*[.])?${NUMBER}[.]?([:/?#]|$)'))`;

const MIRROR_CREDENTIALS =
  'leave them out: a mirror gets those of spec.source.secretRef when it has the scheme, host and port of spec.source.url, and else none';

function Url(field: string, passwordRemedy: string, description?: string) {
  return Type.String({
    minLength: 1,
    maxLength: 2048,
    ...(description !== undefined && { description }),
    ...rules(
      refuse(
        `${userinfoIn('self')} || self.matches('^https?://')`,
        field,
        'does not begin with http:// or https://; give the address of a web server',
      ),
      // The value is not repeated: it holds a password.
      {
        rule: `!${userinfoIn('self')}`,
        message: `${field}: the URL holds a user name or password; ${passwordRemedy}`,
      },
      refuse(
        `${userinfoIn('self')} || self.matches('^[!-~]*$')`,
        field,
        'holds spaces or characters that are not ASCII; percent-encode them',
      ),
      refuse(
        `${isNoUrl('self')} || !self.matches('^[!-~]*$') || (${isHost('self')})`,
        field,
        'has a host or port that cannot be; write https://HOST/ or https://HOST:PORT/, where HOST is a name, an IPv4 address or an IPv6 address in brackets, and PORT from 1 to 65535',
      ),
    ),
  });
}

function Digest(field: string, description: string) {
  return Type.String({
    maxLength: 256,
    description,
    ...rules(
      refuse(
        "self.matches('^sha256:[0-9a-f]{64}$')",
        field,
        'is not a SHA-256 digest; write sha256: followed by the 64 lower-case hexadecimal digits that sha256sum prints',
      ),
    ),
  });
}

/** Regular expressions alone: their cost is what the API server can bound for a thousand paths. */
function FilePath(field: string, description: string) {
  return Type.String({
    minLength: 1,
    maxLength: 1024,
    description,
    ...rules(
      refuse(
        "self.matches('^([^/]+/)*[^/]+$') && !self.matches('(^|/)[.][.]?(/|$)')",
        field,
        'is not a path in the folder of spec.source.url; write it relative to that, without empty segments, . or ..',
      ),
      refuse(
        "!self.matches('[[:cntrl:]\\\\\\\\]') && !self.matches('[^/]{256}') && !self.matches('^[.]sluice(/|$)')",
        field,
        'cannot be the path of a file on a node: it has control characters, a backslash or a segment over 255 characters, or begins with .sluice; rename the file',
      ),
    ),
  });
}

const Files = Type.Array(
  Type.Object({
    path: FilePath(
      'spec.source.files[].path',
      'Below spec.source.url, and below spec.target.path on the nodes.',
    ),
    digest: Type.Optional(
      Digest(
        'spec.source.files[].digest',
        'SHA-256 of this file. With it, a node or relay that has the same bytes already fetches nothing.',
      ),
    ),
    sizeBytes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 2 ** 50,
        description: 'Length that the origin must state.',
      }),
    ),
  }),
  {
    maxItems: MAX_FILES,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['path'],
    description:
      'The files of a set; spec.source.url is then the folder that they are in. The set appears on a node whole, in one step.',
    ...rules({
      rule: 'size(self) > 0',
      message: 'spec.source.files: is empty; name files, or leave it out when the URL is the file',
    }),
  },
);

const FilesFrom = Type.Object(
  {
    path: FilePath(
      'spec.source.filesFrom.path',
      'Below spec.source.url. Lines as sha256sum writes them, at most 1,000 and 1 MiB; paths in it are relative to the folder that it is in.',
    ),
  },
  {
    description:
      'Instead of files: a list of checksums at the origin, read once for each epoch. It is not delivered itself.',
  },
);

export const Source = Type.Object(
  {
    url: Url(
      'spec.source.url',
      'put them into a Secret and name it in spec.source.secretRef',
      'The file, over http or https; its last path segment becomes its name on the nodes. With files or filesFrom: the folder, with a slash at its end.',
    ),
    files: Type.Optional(Files),
    filesFrom: Type.Optional(FilesFrom),
    mirrors: Type.Optional(
      Type.Array(Url('spec.source.mirrors[]', MIRROR_CREDENTIALS), {
        maxItems: MAX_MIRRORS,
        'x-kubernetes-list-type': 'set',
        description:
          'Further URLs of the same bytes, each like url, in the order in which they are used when url does not answer or its limits leave no room; each under the limits of its own Origin. Credentials go only to those with the scheme, host and port of url. Every file needs a digest. Changes act in place.',
      }),
    ),
    digest: Type.Optional(
      Digest(
        'spec.source.digest',
        'SHA-256 of the whole file. When given, no node shows a file whose digest differs.',
      ),
    ),
    secretRef: Type.Optional(
      Type.Object(
        {
          name: Type.String({
            minLength: 1,
            maxLength: 253,
            description: 'Name of a Secret in the namespace of the Distribution.',
            ...rules(
              refuse(
                `self.matches('^${OBJECT_NAME}$')`,
                'spec.source.secretRef.name',
                'is not the name of a Secret; write lower-case letters, digits, dashes and dots',
              ),
            ),
          }),
        },
        {
          description:
            'Credentials for the origin: the key `token` (sent as a bearer token), or `username` and `password` (basic authentication), or `headers` (one `Name: value` a line).',
        },
      ),
    ),
  },
  {
    description:
      'Where the bytes come from. A change of url, digest, files or filesFrom starts a new epoch.',
    ...rules(
      refuse(
        `${IS_SET} || ${isNoUrl('self.url')} || ${isFile('self.url')}`,
        'spec.source.url',
        'does not name a file; write https://HOST/FOLDER/FILE, without a slash at the end, without . or .. as a segment and without #, or name the files of a folder in spec.source.files',
        'self.url',
      ),
      refuse(
        `!${IS_SET} || ${isNoUrl('self.url')} || ${isFolder('self.url')}`,
        'spec.source.url',
        'is not a folder, and spec.source.files and filesFrom are relative to one; write https://HOST/FOLDER/, with a slash at the end, without . or .. as a segment, ? or #',
        'self.url',
      ),
      {
        rule: `!has(self.mirrors) || ${IS_SET} || self.mirrors.all(mirror, ${isNoUrl('mirror')} || ${isFile('mirror')})`,
        message:
          'spec.source.mirrors: one of them does not name a file, as spec.source.url does; write https://HOST/FOLDER/FILE for each',
      },
      {
        rule: `!has(self.mirrors) || !${IS_SET} || self.mirrors.all(mirror, ${isNoUrl('mirror')} || ${isFolder('mirror')})`,
        message:
          'spec.source.mirrors: one of them is not a folder, as spec.source.url is; write https://HOST/FOLDER/ for each, with a slash at the end',
      },
      {
        rule: '!has(self.mirrors) || !(self.url in self.mirrors)',
        message: 'spec.source.mirrors: names spec.source.url again; leave it out',
      },
      {
        rule: '!has(self.mirrors) || size(self.mirrors) == 0 || has(self.digest) || has(self.filesFrom) || (has(self.files) && self.files.all(file, has(file.digest)))',
        message:
          'spec.source.mirrors: only a digest tells that a mirror has the same bytes; name spec.source.digest, or the digest of every file',
      },
      {
        rule: '!has(self.files) || !has(self.filesFrom)',
        message:
          'spec.source.filesFrom: stands beside spec.source.files; keep the one that names the files',
      },
      {
        rule: `!has(self.digest) || !${IS_SET}`,
        message:
          'spec.source.digest: is that of one file, and there is a set; write digests into spec.source.files, or name a list in spec.source.filesFrom',
      },
    ),
  },
);

export type Source = Static<typeof Source>;
