// The page for programmers: /v1/openapi.json, drawn as text, tables and examples of curl.

import { announce, announceError, byId, make } from "./elements.js";
import { example } from "./curl.js";
import { requestJSON } from "./requests.js";
import { countText } from "./texts.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
const REFERENCE = "#/components/schemas/";

let description;

/** What a reference of the description stands for. */
function resolved(part) {
  if (!part?.$ref) return part ?? {};
  return part.$ref.slice(2).split("/").reduce((place, name) => place?.[name], description) ?? {};
}

/** Text with paragraphs, **strong words** and `code`. */
function prose(text) {
  return text.trim().split(/\n\s*\n/).map((paragraph) => make("p", {}, ...inline(paragraph)));
}

const inline = (text) => text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
  if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
  return part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : part;
});

/** The type of a value in words, with links to the types of answers. */
function typeOf(schema) {
  if (!schema) return [];
  if (schema.$ref?.startsWith(REFERENCE)) {
    const name = schema.$ref.slice(REFERENCE.length);
    return [make("a", { href: `#type-${name}` }, name)];
  }
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.flatMap((one, place) => [...(place ? [" or "] : []), ...typeOf(one)]);
  if (schema.enum) return schema.enum.flatMap((one, place) => [...(place ? [", "] : []), make("code", {}, JSON.stringify(one))]);
  if (schema.const !== undefined) return [make("code", {}, JSON.stringify(schema.const))];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.contentMediaType === "application/octet-stream" || schema.format === "binary") return ["file"];
  return [{ string: "text", integer: "whole number", object: "object", null: "null" }[schema.type] ?? schema.type ?? "any", limits(schema)];
}

function limits(schema) {
  const { minimum, maximum, maxLength } = schema;
  if (minimum !== undefined && maximum !== undefined) return `, ${minimum} to ${maximum}`;
  if (minimum !== undefined) return `, ${minimum} or more`;
  if (maximum !== undefined) return `, ${maximum} at most`;
  return maxLength === undefined ? "" : `, at most ${maxLength} characters`;
}

/** A table without its empty columns; its roles stay where the style sheet makes rows into blocks, on narrow screens. */
function table(caption, allHeads, allRows) {
  if (!allRows.length) return null;
  const isUsed = allHeads.map((_, place) => allRows.some((row) => row[place].some((part) => part !== "")));
  const [heads, ...rows] = [allHeads, ...allRows].map((row) => row.filter((_, place) => isUsed[place]));
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    make("table", { role: "table" },
      make("caption", {}, caption),
      make("thead", {}, make("tr", { role: "row" }, ...heads.map((head) => make("th", { scope: "col", role: "columnheader" }, head)))),
      make("tbody", {}, ...rows.map(([first, ...others]) =>
        make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, ...first), ...others.map((cell) => make("td", { role: "cell" }, ...cell)))))));
}

/** A row for a field: name, type, default, meaning. */
function field(name, schema, text, required) {
  const value = schema.default;
  const standard = value === undefined || value === null || value === "" ? [] : [make("code", {}, String(value))];
  return [[make("code", {}, name), ...(required ? [make("span", { class: "muted" }, " required")] : [])],
    typeOf(schema), standard, inline(text ?? schema.description ?? "")];
}

const HEADS = ["Field", "Type", "Default", "Meaning"];

function bodyTable(content) {
  return Object.entries(content ?? {}).map(([kind, { schema }]) => {
    const form = resolved(schema);
    if (!form.properties) return make("p", {}, "The body is ", make("code", {}, kind), ".");
    const rows = Object.entries(form.properties).map(([name, one]) => field(name, one, one.description, form.required?.includes(name)));
    return table(`Fields of the body (${kind})`, HEADS, rows);
  });
}

function answers(operation) {
  return Object.entries(operation.responses).map(([status, reference]) => {
    const answer = resolved(reference);
    const content = Object.entries(answer.content ?? {}).flatMap(([kind, { schema }]) =>
      [make("div", {}, make("code", {}, kind), ...(schema && Object.keys(schema).length && Number(status) < 400 ? [" ", ...typeOf(schema)] : []))]);
    const headers = Object.keys(answer.headers ?? {}).map((name) => make("div", {}, make("code", {}, name)));
    return [[make("code", {}, status)], inline(answer.description ?? ""), content, headers];
  });
}

function operationElement(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolved);
  const where = { query: "Fields of the address", header: "Headers", path: "Parts of the path" };
  const title = make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()), " ",
    make("code", {}, path), " ", make("span", { class: "muted" }, operation.summary ?? ""));
  const parts = [
    ...prose(operation.description ?? ""),
    ...Object.keys(where).map((place) => table(where[place], HEADS, parameters.filter((one) => one.in === place)
      .map((one) => field(one.name, one.schema ?? {}, one.description, one.required)))),
    ...bodyTable(resolved(operation.requestBody).content),
    make("h4", {}, "Example"),
    make("pre", { tabindex: "0" }, example(path, method, operation, description, resolved)),
    table("Answers", ["Status", "Meaning", "Content", "Headers"], answers(operation)),
  ];
  return make("details", { class: "operation", id: operation.operationId }, title, ...parts);
}

function typeElement(name, schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([field_, one]) =>
    [[make("code", {}, field_)], typeOf(one), inline(one.description ?? "")]);
  const sample = schema.examples?.[0];
  return make("section", { id: `type-${name}`, tabindex: "-1", class: "type" },
    make("h3", {}, name), ...prose(schema.description ?? ""),
    table(`Fields of ${name}`, ["Field", "Type", "Meaning"], rows),
    sample === undefined ? null : make("pre", { tabindex: "0" }, JSON.stringify(sample, null, 2)));
}

function draw() {
  byId("about").append(...prose(description.info.description ?? ""), ...access());
  const groups = new Map((description.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, { name: tag, operations: [] });
      groups.get(tag).operations.push(operationElement(path, method, item[method]));
    }
  }
  for (const { name, description: text, operations } of groups.values()) {
    if (!operations.length) continue;
    byId("operations").append(make("section", { "aria-labelledby": `tag-${name}` },
      make("h2", { id: `tag-${name}` }, name[0].toUpperCase() + name.slice(1)), ...prose(text ?? ""), ...operations));
  }
  const forms = /Form$/;
  const types = Object.entries(description.components?.schemas ?? {}).filter(([name]) => !forms.test(name));
  byId("types").append(...types.map(([name, schema]) => typeElement(name, schema)));
  byId("types").hidden = !types.length;
}

/** Whether this server requires a token. */
function access() {
  const isOpen = (description.security ?? [{}]).some((one) => !Object.keys(one).length);
  return [make("p", {}, make("strong", {}, isOpen ? "This server requires no token." : "This server requires a token."))];
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of byId("operations").children) {
    let any = false;
    for (const operation of section.querySelectorAll(".operation")) {
      const text = operation.textContent.toLowerCase();
      operation.hidden = !words.every((word) => text.includes(word));
      any ||= !operation.hidden;
      shown += !operation.hidden;
    }
    section.hidden = !any;
  }
  byId("found").textContent = words.length ? `${countText(shown, "operation")} found` : "";
}

const openAll = (isOpen) => byId("operations").querySelectorAll("details").forEach((one) => (one.open = isOpen));

/** Open the operation that the address names, as docs#get_job, and go there. */
function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
  (target.querySelector("summary") ?? target).focus();
}

async function start() {
  description = await requestJSON("v1/openapi.json");
  draw();
  announce("");
  follow();
}

byId("filter").addEventListener("input", filter);
byId("open").addEventListener("click", () => openAll(true));
byId("close").addEventListener("click", () => openAll(false));
addEventListener("hashchange", follow);
start().catch(announceError);
