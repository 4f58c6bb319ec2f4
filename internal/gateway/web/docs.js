// Draws /openapi.json: contents, operations, schemas, and a form that tries an
// operation out. Text goes into the page as text only, never as HTML.
"use strict";

const make = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") node.className = value;
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
};

let api;

// resolve follows a reference within the description.
const resolve = (thing) => {
  for (let hops = 0; thing && thing.$ref && hops < 8; hops++) {
    thing = thing.$ref.slice(2).split("/").reduce((at, part) => at[part.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return thing;
};
const refName = (thing) => (thing && thing.$ref ? thing.$ref.split("/").pop() : "");

// inline draws `code` and **bold** of one line.
const inline = (text) => text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/).map((part) => {
  if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
  if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
  if (part.startsWith("*") && part.length > 2) return make("em", {}, part.slice(1, -1));
  return part;
});

const anchor = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

// prose draws the little Markdown that the description uses: headings,
// paragraphs and lists.
const prose = (text) => {
  const out = [];
  for (const block of (text || "").trim().split(/\n{2,}/)) {
    if (!block) continue;
    if (block.startsWith("## ")) {
      out.push(make("h2", { id: anchor(block.slice(3)) }, block.slice(3)));
    } else if (block.startsWith("- ")) {
      out.push(make("ul", {}, ...block.split(/\n(?=- )/).map((item) => make("li", {}, ...inline(item.slice(2))))));
    } else {
      out.push(make("p", {}, ...inline(block.replaceAll("\n", " "))));
    }
  }
  return out;
};

const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  let type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any JSON";
  if (type === "array") type = "array of " + (refName(schema.items) || typeOf(resolve(schema.items)));
  const limits = [];
  if (schema.minimum !== undefined) limits.push("≥ " + schema.minimum);
  if (schema.maximum !== undefined) limits.push("≤ " + schema.maximum);
  if (schema.maxLength !== undefined) limits.push("≤ " + schema.maxLength + " characters");
  return type + (limits.length ? ", " + limits.join(", ") : "");
};

// tree draws a schema and what it holds.
const tree = (schema, depth = 0) => {
  schema = resolve(schema);
  if (schema && schema.type === "array") return tree(schema.items, depth);
  if (!schema || !schema.properties || depth > 3) return null;
  const required = new Set(schema.required || []);
  return make("ul", { class: "tree" }, ...Object.entries(schema.properties).map(([name, raw]) => {
    const part = resolve(raw);
    return make("li", {},
      make("code", {}, name), " ",
      make("span", { class: "where" }, typeOf(part)), " ",
      required.has(name) ? make("span", { class: "must" }, "required ") : null,
      ...inline(raw.description || part.description || ""),
      tree(part, depth + 1));
  }));
};

const table = (heads, rows) => make("table", {},
  make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, ...[].concat(cell)))))));

const show = (example) => (typeof example === "string" ? example : JSON.stringify(example, null, 2));

const drawParameters = (list) => table(["Name", "Meaning"], list.map((p) => [
  [make("code", {}, p.name), make("br"), make("span", { class: "where" }, p.in + ", " + typeOf(resolve(p.schema))),
    p.required ? make("span", { class: "must" }, " required") : null].filter(Boolean),
  inline(p.description || ""),
]));

const drawContent = (content) => Object.entries(content || {}).flatMap(([type, media]) => [
  make("p", {}, make("code", {}, type), " ", refName(media.schema) ? make("span", { class: "where" }, refName(media.schema)) : null),
  tree(media.schema),
  media.example === undefined ? null : make("pre", {}, make("code", {}, show(media.example))),
].filter(Boolean));

const drawResponses = (responses) => {
  const good = Object.entries(responses).filter(([status]) => status < "300");
  const bad = Object.entries(responses).filter(([status]) => status >= "300");
  const parts = good.flatMap(([status, raw]) => {
    const r = resolve(raw);
    return [
      make("p", {}, make("span", { class: "status good" }, status), " ", ...inline(r.description || "")),
      ...(r.headers ? [drawParameters(Object.entries(r.headers).map(([name, h]) => ({ ...resolve(h), name, in: "header" })))] : []),
      ...drawContent(r.content),
    ];
  });
  if (bad.length) {
    parts.push(make("p", {}, "Problems: ", ...bad.flatMap(([status]) => [make("span", { class: "status bad" }, status), " "]),
      make("span", { class: "where" }, "application/problem+json")));
  }
  return parts;
};

const field = (label, hint, control) => make("label", {}, make("span", {}, label, hint ? " · " + hint : ""), control);

// drawForm lets an operation be tried out.
const drawForm = (verb, path, operation, parameters) => {
  const inputs = parameters.map((p) => {
    const schema = resolve(p.schema) || {};
    const control = schema.type === "boolean"
      ? make("select", {}, make("option", { value: "" }, ""), make("option", {}, "true"), make("option", {}, "false"))
      : make("input", { type: "text", autocomplete: "off", spellcheck: false, value: p.required && p.example !== undefined ? String(p.example) : "" });
    if (p.required) control.required = true;
    return { p, control };
  });
  const contents = Object.entries(operation.requestBody ? operation.requestBody.content : {});
  const kind = contents.length ? make("select", {}, ...contents.map(([type]) => make("option", {}, type))) : null;
  const text = contents.length ? make("textarea", { spellcheck: false }) : null;
  const fill = () => {
    const example = contents.find(([type]) => type === kind.value)[1].example;
    text.value = example === undefined ? "" : show(example);
  };
  if (kind) {
    kind.addEventListener("change", fill);
    fill();
  }
  const button = make("button", { type: "submit" }, "Send");
  const answer = make("div", { role: "status" });
  const form = make("form", {},
    ...inputs.map(({ p, control }) => field(p.name, p.in, control)),
    kind ? field("Content-Type", "", kind) : null,
    text ? field("Body", "", text) : null,
    button, answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    await send(verb, path, inputs, kind, text, answer);
    button.disabled = false;
  });
  return make("div", { class: "try" }, make("h3", {}, "Try it"), form);
};

// send makes the request of a filled-in form and shows the answer.
const send = async (verb, path, inputs, kind, text, answer) => {
  const query = new URLSearchParams();
  const headers = {};
  for (const { p, control } of inputs) {
    if (control.value === "") continue;
    if (p.in === "path") path = path.replace("{" + p.name + "}", encodeURIComponent(control.value));
    if (p.in === "query") query.set(p.name, control.value);
    if (p.in === "header") headers[p.name] = control.value;
  }
  if (kind) headers["Content-Type"] = kind.value;
  const began = performance.now();
  try {
    const response = await fetch(path + (query.size ? "?" + query : ""), { method: verb.toUpperCase(), headers, body: text ? text.value : undefined });
    let body = await response.text();
    const took = Math.round(performance.now() - began);
    try { body = JSON.stringify(JSON.parse(body), null, 2); } catch { /* not JSON: shown as it is */ }
    answer.replaceChildren(
      make("p", {}, make("span", { class: "status " + (response.ok ? "good" : "bad") }, response.status + " " + response.statusText), " in " + took + " ms"),
      make("pre", {}, make("code", {}, [...response.headers].map(([name, value]) => name + ": " + value).join("\n"))),
      make("pre", {}, make("code", {}, body)));
  } catch (error) {
    answer.replaceChildren(make("p", { class: "status bad" }, "No answer: " + error.message));
  }
};

const drawOperation = (verb, path, operation) => {
  const parameters = (operation.parameters || []).map(resolve);
  const content = operation.requestBody ? operation.requestBody.content : null;
  return make("details", { class: "op", id: operation.operationId },
    make("summary", {}, make("span", { class: "verb " + verb }, verb.toUpperCase()), make("span", { class: "path" }, path),
      make("span", { class: "what" }, operation.summary || "")),
    make("div", {},
      ...prose(operation.description),
      ...(parameters.length ? [make("h3", {}, "Parameters"), drawParameters(parameters)] : []),
      ...(content ? [make("h3", {}, "Body"), ...drawContent(content)] : []),
      make("h3", {}, "Answers"), ...drawResponses(operation.responses),
      drawForm(verb, path, operation, parameters)));
};

const contents = (title, links) => [make("h2", {}, title), make("ul", {}, ...links.map((link) => make("li", {}, link)))];

const draw = () => {
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("summary").textContent = api.info.summary || "";
  const main = document.getElementById("main");
  const nav = document.getElementById("nav");
  const text = api.info.description || "";
  const cut = text.indexOf("\n## ") < 0 ? text.length : text.indexOf("\n## ");
  main.append(make("section", {}, ...prose(text.slice(0, cut))));
  for (const tag of api.tags) {
    const found = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item)
      .filter(([, operation]) => (operation.tags || []).includes(tag.name))
      .map(([verb, operation]) => ({ verb, path, operation })));
    const name = tag.name[0].toUpperCase() + tag.name.slice(1);
    main.append(make("section", {}, make("h2", { id: "tag-" + tag.name }, name),
      ...prose(tag.description), ...found.map((f) => drawOperation(f.verb, f.path, f.operation))));
    nav.append(...contents(name, found.map((f) => make("a", { href: "#" + f.operation.operationId },
      make("span", { class: "verb " + f.verb }, f.verb.toUpperCase()), f.path))));
  }
  const rules = make("section", {}, ...prose(text.slice(cut)));
  main.append(rules);
  nav.append(...contents("Rules", [...rules.querySelectorAll("h2")].map((h) => make("a", { href: "#" + h.id }, h.textContent))));
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
  else document.querySelector("details.op").open = true;
};

fetch("/openapi.json").then((response) => response.json()).then((description) => {
  api = description;
  draw();
}).catch((error) => {
  document.getElementById("summary").textContent = "The description could not be loaded: " + error.message;
});
