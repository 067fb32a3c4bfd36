/**
 * TypeBox (JSON schema) to the structural OpenAPI v3 schema of a CRD.
 *
 * A structural schema is the smaller language: what it cannot say is refused here, when the files
 * are generated, instead of by the API server when they are applied.
 */

/** What is copied as it stands. */
const KEYWORDS = new Set([
  'type',
  'description',
  'default',
  'enum',
  'format',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'maxProperties',
]);

type Schema = Readonly<Record<string, unknown>>;

export function structuralSchema(schema: Schema, path = 'schema'): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (KEYWORDS.has(keyword) || keyword.startsWith('x-kubernetes-')) result[keyword] = value;
    else Object.assign(result, translated(keyword, value, schema, path));
  }
  requireBounds(result, path);
  return result;
}

function translated(keyword: string, value: unknown, schema: Schema, path: string): Schema {
  switch (keyword) {
    case 'properties':
      return { properties: mapValues(value as Record<string, Schema>, path) };
    case 'items':
      return { items: structuralSchema(value as Schema, `${path}[]`) };
    case 'required':
      return requiredWithoutDefault(value as string[], schema);
    case 'anyOf':
      return enumOfLiterals(value as Schema[], path);
    case 'const':
      return { enum: [value] };
    case 'patternProperties':
      return { additionalProperties: valuesOfRecord(value as Record<string, Schema>, path) };
    default:
      throw new Error(`${path}: '${keyword}' cannot stand in a structural schema`);
  }
}

function mapValues(properties: Record<string, Schema>, path: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [
      name,
      structuralSchema(property, `${path}.${name}`),
    ]),
  );
}

/** A field with a default is there when read, but the user need not write it. */
function requiredWithoutDefault(names: readonly string[], schema: Schema): Schema {
  const properties = schema.properties as Record<string, Schema>;
  const required = names.filter((name) => properties[name]?.default === undefined);
  return required.length === 0 ? {} : { required };
}

function enumOfLiterals(members: readonly Schema[], path: string): Schema {
  const values = members.map((member) => member.const);
  if (!values.every((value) => typeof value === 'string')) {
    throw new Error(`${path}: only a union of strings has a structural schema`);
  }
  return { type: 'string', enum: values };
}

function valuesOfRecord(patterns: Record<string, Schema>, path: string): Schema {
  const schemas = Object.values(patterns);
  if (schemas.length !== 1) throw new Error(`${path}: a record has one kind of values`);
  return structuralSchema(schemas[0]!, `${path}{}`);
}

/** Every string, list and map that a user or the operator fills is bounded. */
function requireBounds(schema: Schema, path: string): void {
  const bound: Record<string, string> = { string: 'maxLength', array: 'maxItems' };
  const needed = schema.additionalProperties ? 'maxProperties' : bound[String(schema.type)];
  if (needed !== undefined && schema[needed] === undefined && schema.enum === undefined) {
    throw new Error(`${path}: has no ${needed}`);
  }
  if (schema.type === 'array' && schema['x-kubernetes-list-type'] === undefined) {
    throw new Error(`${path}: has no x-kubernetes-list-type`);
  }
}
