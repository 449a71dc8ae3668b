// An example of curl for an operation of a description of OpenAPI.

import { address } from "./requests.js";

/**
 * The command, with ID in place of ids.
 * @param resolved gives what a reference stands for
 */
export function example(path, method, operation, description, resolved) {
  const parameters = (operation.parameters ?? []).map(resolved);
  const query = parameters.filter((one) => one.in === "query" && one.required).map((one) => `${one.name}=${value(one, "ID,ID")}`);
  const url = address(`v1${path.replace(/\{[^}]+\}/g, "ID")}${query.length ? `?${query.join("&")}` : ""}`);
  const words = ["curl"];
  if (method === "head") words.push("-I");
  else if (method !== "get" && !(method === "post" && operation.requestBody)) words.push("-X", method.toUpperCase());
  if (isToSave(operation)) words.push("-OJ");
  if (isStream(operation)) words.push("-N");
  if (!(description.security ?? [{}]).some((one) => !Object.keys(one).length)) words.push("-H", "Authorization: Bearer TOKEN");
  for (const one of parameters) if (one.in === "header" && one.required) words.push("-H", `${one.name}: ${value(one, "VALUE")}`);
  words.push(...body(resolved(operation.requestBody).content ?? {}, resolved), url);
  return words.map(quoted).join(" ");
}

const kinds = (operation) => Object.keys(operation.responses["200"]?.content ?? {});
const isStream = (operation) => kinds(operation).includes("text/event-stream");
const isToSave = (operation) => kinds(operation).some((kind) => /zip|octet-stream|^audio/.test(kind));

const value = (parameter, otherwise) =>
  encodeURI(String(parameter.example ?? parameter.schema?.examples?.[0] ?? parameter.schema?.default ?? otherwise));

function body(content, resolved) {
  const [kind] = Object.keys(content);
  if (!kind) return [];
  const schema = resolved(content[kind].schema);
  if (kind === "application/json") return ["-H", `Content-Type: ${kind}`, "-d", JSON.stringify(content[kind].example ?? schema.examples?.[0] ?? {})];
  if (!schema.properties) return ["-H", `Content-Type: ${kind}`, "--data-binary", "@talk.wav"];
  const isFile = (one) => JSON.stringify(one).includes("octet-stream") || JSON.stringify(one).includes('"binary"');
  const fields = Object.entries(schema.properties);
  const [file] = fields.filter(([, one]) => isFile(one)).map(([name]) => `${name}=@talk.wav`);
  const required = fields.filter(([name, one]) => schema.required?.includes(name) && !isFile(one));
  const shown = fields.filter(([name]) => ["unit", "format"].includes(name));
  const given = [...new Set([...required, ...shown])].map(([name, one]) => `${name}=${one.examples?.[0] ?? one.default ?? "VALUE"}`);
  return [...(file ? [file] : []), ...given].flatMap((one) => ["-F", one]);
}

/** A word as shells take it. */
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`);
