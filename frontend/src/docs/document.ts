/** What the page reads of an OpenAPI 3.1 document, as pure functions. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  example?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header" | "cookie";
  required?: boolean;
  description?: string;
  schema?: Schema;
}

interface Content {
  [mediaType: string]: { schema?: Schema };
}

interface RawOperation {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content?: Content };
  responses?: Record<string, { description?: string; content?: Content }>;
  security?: unknown[];
}

export interface ApiDocument {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, RawOperation>>;
  components?: { schemas?: Record<string, Schema> };
  security?: unknown[];
}

export interface Operation {
  id: string;
  method: string;
  path: string;
  tag: string;
  summary: string;
  description: string;
  parameters: Parameter[];
  body: { mediaType: string; schema: Schema; required: boolean } | null;
  responses: { status: string; description: string; mediaType: string | null; schema: Schema | null }[];
  /** It takes an access token. */
  secured: boolean;
}

const METHODS = ["get", "post", "put", "patch", "delete"];

function contentOf(content: Content | undefined): { mediaType: string; schema: Schema } | null {
  const [first] = Object.entries(content ?? {});
  return first ? { mediaType: first[0], schema: first[1].schema ?? {} } : null;
}

export function operationsOf(document: ApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const raw = item[method] as RawOperation;
      const body = contentOf(raw.requestBody?.content);
      return {
        id: raw.operationId ?? `${method} ${path}`,
        method: method.toUpperCase(),
        path,
        tag: raw.tags?.[0] ?? "other",
        summary: raw.summary ?? "",
        description: raw.description ?? "",
        parameters: raw.parameters ?? [],
        body: body ? { ...body, required: raw.requestBody?.required ?? false } : null,
        responses: Object.entries(raw.responses ?? {}).map(([status, response]) => {
          const content = contentOf(response.content);
          return { status, description: response.description ?? "", mediaType: content?.mediaType ?? null, schema: content?.schema ?? null };
        }),
        secured: (raw.security ?? document.security ?? []).length > 0,
      };
    }),
  );
}

/** By tag, in the order of the alphabet; within one in the order of the document. */
export function byTag(operations: Operation[]): [string, Operation[]][] {
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) groups.set(operation.tag, [...(groups.get(operation.tag) ?? []), operation]);
  return [...groups].toSorted(([left], [right]) => left.localeCompare(right));
}

/** Every word of the query is somewhere in the operation. */
export function matches(operation: Operation, query: string): boolean {
  const text = [operation.id, operation.method, operation.path, operation.tag, operation.summary].join(" ").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Follows references and joins `allOf`; what is nullable is shown as what it is when it is there. */
export function resolve(schema: Schema, document: ApiDocument): Schema {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop() ?? "";
    const target = document.components?.schemas?.[name] ?? {};
    return resolve(schema.description ? { ...target, description: schema.description } : target, document);
  }
  const options = (schema.oneOf ?? schema.anyOf)?.filter((option) => option.type !== "null");
  if (options?.length === 1 && options[0]) return { ...resolve(options[0], document), ...(schema.description ? { description: schema.description } : {}) };
  if (!schema.allOf) return schema;
  const parts = schema.allOf.map((part) => resolve(part, document));
  return {
    ...schema,
    type: "object",
    properties: Object.assign({}, ...parts.map((part) => part.properties ?? {}), schema.properties ?? {}) as Record<string, Schema>,
    required: [...parts.flatMap((part) => part.required ?? []), ...(schema.required ?? [])],
  };
}

export function isNullable(schema: Schema): boolean {
  return (Array.isArray(schema.type) && schema.type.includes("null")) || Boolean((schema.oneOf ?? schema.anyOf)?.some((option) => option.type === "null"));
}

function plainType(schema: Schema): string | undefined {
  return Array.isArray(schema.type) ? schema.type.find((type) => type !== "null") : schema.type;
}

/** `string (uuid)`, `array of Story`, `"ask" | "auto"`. */
export function typeName(schema: Schema, document: ApiDocument): string {
  const named = schema.$ref?.split("/").pop() ?? (schema.oneOf ?? schema.anyOf)?.find((option) => option.$ref)?.$ref?.split("/").pop();
  if (named) return named;
  const shape = resolve(schema, document);
  if (shape.enum) return shape.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (plainType(shape) === "array") return `array of ${typeName(shape.items ?? {}, document)}`;
  const type = plainType(shape) ?? (shape.properties ? "object" : "any");
  return shape.format ? `${type} (${shape.format})` : type;
}

/** Objects nest, and may contain themselves. */
const MAX_DEPTH = 5;

/** A value of the schema's shape to begin with. */
export function example(schema: Schema, document: ApiDocument, depth = 0): unknown {
  const shape = resolve(schema, document);
  if (shape.example !== undefined) return shape.example;
  if (shape.default !== undefined) return shape.default;
  if (shape.const !== undefined) return shape.const;
  if (shape.enum) return shape.enum[0];
  const [option] = shape.oneOf ?? shape.anyOf ?? [];
  if (option) return example(option, document, depth + 1);
  if (depth > MAX_DEPTH) return null;
  switch (plainType(shape)) {
    case "array":
      return [];
    case "integer":
    case "number":
      return 0;
    case "boolean":
      return false;
    case "string":
      return shape.format === "date" ? "2027-01-31" : shape.format === "date-time" ? "2027-01-31T12:00:00Z" : "";
    default: {
      const required = new Set(shape.required);
      const entries = Object.entries(shape.properties ?? {});
      return Object.fromEntries(entries.map(([name, property]) => [name, !required.has(name) && isNullable(property) ? null : example(property, document, depth + 1)]));
    }
  }
}

export interface Field {
  name: string;
  type: string;
  required: boolean;
  description: string;
  /** What it consists of, if it is an object or a list of objects. */
  inner: Schema | null;
}

export function fieldsOf(schema: Schema, document: ApiDocument): Field[] {
  const shape = resolve(schema, document);
  const list = plainType(shape) === "array" ? resolve(shape.items ?? {}, document) : shape;
  const required = new Set(list.required);
  return Object.entries(list.properties ?? {}).map(([name, property]) => {
    const inner = resolve(property, document);
    const element = plainType(inner) === "array" ? resolve(inner.items ?? {}, document) : inner;
    return {
      name,
      type: typeName(property, document) + (isNullable(property) ? " or null" : ""),
      required: required.has(name),
      description: property.description ?? inner.description ?? "",
      inner: element.properties ? element : null,
    };
  });
}
