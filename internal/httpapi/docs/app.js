"use strict";
// Renders /api/openapi.json: operations by tag with parameters, schemas and a
// form to try them. Text goes into the page as text only.

const el = (name, attrs = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attrs)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const maxDepth = 6;

function resolve(doc, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return doc.components.schemas[schema.$ref.split("/").pop()] || {};
}

// sketch turns a schema into an example-like value that shows names and types.
function sketch(doc, schema, depth = 0) {
  const s = resolve(doc, schema);
  if (depth > maxDepth) return "…";
  if (s.enum) return s.enum.join(" | ");
  const type = Array.isArray(s.type) ? s.type.filter((t) => t !== "null")[0] : s.type;
  const orNull = Array.isArray(s.type) && s.type.includes("null") ? " or null" : "";
  if (type === "array") return [sketch(doc, s.items, depth + 1)];
  if (s.properties) {
    const out = {};
    for (const [name, property] of Object.entries(s.properties)) out[name] = sketch(doc, property, depth + 1);
    return out;
  }
  if (type === "object" && typeof s.additionalProperties === "object") return { "…": sketch(doc, s.additionalProperties, depth + 1) };
  return (s.format || s.contentEncoding || type || "any") + orNull;
}

function fields(doc, schema) {
  const s = resolve(doc, schema);
  if (!s.properties) return null;
  const required = new Set(s.required || []);
  const rows = Object.entries(s.properties)
    .filter(([, property]) => property.description)
    .map(([name, property]) => el("tr", {}, el("td", {}, el("code", {}, name), required.has(name) ? " *" : ""), el("td", {}, property.description)));
  return rows.length ? el("table", {}, ...rows) : null;
}

function parametersOf(operation) {
  if (!operation.parameters || !operation.parameters.length) return null;
  const rows = operation.parameters.map((p) => {
    const schema = p.schema || {};
    const type = schema.enum ? schema.enum.join(" | ") : schema.format || schema.type || "";
    return el("tr", {}, el("td", {}, el("code", {}, p.name), p.required ? " *" : ""), el("td", {}, p.in), el("td", {}, String(type)), el("td", {}, p.description || ""));
  });
  return [el("h3", {}, "Parameters"), el("table", {}, ...rows)];
}

function bodyOf(doc, title, content) {
  if (!content) return null;
  return Object.entries(content).flatMap(([type, media]) => [
    el("h3", {}, title + " "), el("code", {}, type),
    el("pre", {}, JSON.stringify(sketch(doc, media.schema), null, 2)), fields(doc, media.schema) || "",
  ]);
}

function tryForm(doc, method, path, operation) {
  const inputs = {};
  const form = el("form", {});
  for (const p of operation.parameters || []) {
    inputs[p.name] = { in: p.in, node: el("input", { name: p.name }) };
    form.append(el("label", {}, p.name, inputs[p.name].node));
  }
  const json = operation.requestBody && operation.requestBody.content["application/json"];
  const text = json ? el("textarea", { "aria-label": "Body" }) : null;
  if (text) {
    text.value = JSON.stringify(sketch(doc, json.schema), null, 2);
    form.append(text);
  }
  const result = el("pre", { hidden: "" });
  form.append(el("button", {}, "Send"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let target = path;
    const query = new URLSearchParams();
    for (const [name, input] of Object.entries(inputs)) {
      const value = input.node.value;
      if (input.in === "path") target = target.replace("{" + name + "}", encodeURIComponent(value));
      else if (value !== "") query.set(name, value);
    }
    const headers = {};
    const token = document.getElementById("token").value;
    if (token) headers.Authorization = "Bearer " + token;
    if (text) headers["Content-Type"] = "application/json";
    result.hidden = false;
    try {
      const url = target + (query.size ? "?" + query : "");
      const answer = await fetch(url, { method, headers, body: text ? text.value : undefined });
      let shown = await answer.text();
      try { shown = JSON.stringify(JSON.parse(shown), null, 2); } catch { /* not JSON: shown as it is */ }
      result.textContent = answer.status + " " + answer.statusText + "\n\n" + shown;
    } catch (error) {
      result.textContent = String(error);
    }
  });
  return [el("h3", {}, "Try it"), form, result];
}

function operationNode(doc, method, path, operation) {
  const node = el("details", { id: operation.operationId, class: operation.deprecated ? "deprecated" : "" },
    el("summary", {}, el("span", { class: "method " + method }, method), el("code", {}, path), el("span", { class: "what" }, operation.summary || "")));
  node.dataset.words = (method + " " + path + " " + operation.summary + " " + operation.operationId).toLowerCase();
  node.addEventListener("toggle", () => {
    if (!node.open || node.children.length > 1) return;
    const parts = [el("p", {}, (operation.deprecated ? "Deprecated. " : "") + (operation.description || ""))];
    parts.push(...(parametersOf(operation) || []));
    if (operation.requestBody) parts.push(...bodyOf(doc, "Request", operation.requestBody.content));
    for (const [status, response] of Object.entries(operation.responses || {})) {
      parts.push(...(bodyOf(doc, "Answer " + status, response.content) || [el("h3", {}, "Answer " + status)]));
    }
    parts.push(...tryForm(doc, method, path, operation));
    node.append(el("div", {}, ...parts));
  });
  return node;
}

async function main() {
  const doc = await (await fetch("/api/openapi.json")).json();
  document.getElementById("about").textContent = doc.info.description || "";
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["Other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationNode(doc, method.toUpperCase(), path, operation));
    }
  }
  const tags = document.getElementById("tags");
  const list = document.getElementById("operations");
  list.textContent = "";
  for (const [tag, nodes] of groups) {
    const id = "tag-" + tag.replace(/\W+/g, "-");
    tags.append(el("a", { href: "#" + id }, tag));
    list.append(el("section", {}, el("h2", { id }, tag), ...nodes));
  }
  document.getElementById("search").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const section of list.children) {
      let shown = 0;
      for (const node of section.querySelectorAll("details")) {
        node.hidden = !node.dataset.words.includes(wanted);
        if (!node.hidden) shown++;
      }
      section.hidden = shown === 0;
    }
  });
  const target = document.getElementById(location.hash.slice(1));
  if (target) { target.open = true; target.scrollIntoView(); }
}

main().catch((error) => { document.getElementById("operations").textContent = "The OpenAPI document could not be read: " + error; });
