// A definition as it is written in a journey file, and the changes that drawing makes to it.
// Everything here takes plain data and returns new plain data; what a journey may say is judged by the library.

export const TRIGGER = "trigger:"; // no node can be called that: a name has no colon
const VERBS = ["send", "wait", "wait_until", "wait_for", "decide", "split", "run", "set", "emit", "call", "exit"];
const MESSAGE = /\b(sent|delivered|opened|clicked|bounced|complained|unsubscribed)\(\s*([A-Za-z_][\w.]*)/g;
const OPTIONAL = { send: ["skipped"], call: ["failed"], wait_until: ["else"] };

export const verbOf = (node) => VERBS.find((verb) => verb in (node ?? {})) ?? "";

export const isMapping = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export const at = (value, path) => path.reduce((part, key) => (part === null ? undefined : part?.[key]), value);

// The value with the part at a path replaced; `undefined` removes it. Keys keep their order.
export function withAt(value, path, part) {
  if (path.length === 0) return part;
  const [key, ...rest] = path;
  if (Array.isArray(value)) {
    const list = value.slice();
    if (rest.length === 0 && part === undefined) list.splice(key, 1);
    else list[key] = withAt(list[key], rest, part);
    return list;
  }
  const mapping = { ...(isMapping(value) ? value : {}) };
  const inner = withAt(mapping[key], rest, part);
  if (inner === undefined) delete mapping[key];
  else mapping[key] = inner;
  return mapping;
}

// The mapping with one key under another name, at the place where it was.
export const withKey = (mapping, from, to) =>
  Object.fromEntries(Object.entries(mapping ?? {}).map(([key, value]) => [key === from ? to : key, value]));

// Where a node can lead: the slot's name, its label, its target, and the path of the target below the node.
export function slotsOf(node) {
  const verb = verbOf(node);
  const one = (name, label = name) => ({ slot: name, label, target: node[name], path: [name] });
  const listed = (field, label) =>
    node[field].map((row, i) => ({ slot: `${field}.${i}`, label: label(row, i), target: row?.go, path: [field, i, "go"] }));
  if (verb === "exit" || verb === "") return [];
  if (verb === "split")
    return [
      ...Object.entries(isMapping(node.split) ? node.split : {}).map(([arm, share]) => ({
        slot: `split.${arm}`, label: String(share), target: arm, path: ["split", arm],
      })),
      { slot: "split.+", label: "+", more: true },
    ];
  if (verb === "decide")
    return [
      ...(Array.isArray(node.decide) ? listed("decide", (_, i) => (node.decide.length > 1 ? `if ${i + 1}` : "if")) : []),
      { slot: "decide.+", label: "+", more: true },
      one("else"),
    ];
  if (verb === "wait_for")
    return Array.isArray(node.wait_for)
      ? [...listed("wait_for", (row) => String(row?.await ?? "")), { slot: "wait_for.+", label: "+", more: true }, one("else")]
      : [one("then"), one("else")];
  return [one("next"), ...(OPTIONAL[verb] ?? []).map((name) => ({ ...one(name), optional: true }))];
}

// The slots that are drawn with their label: all but those that need not lead anywhere, and do not.
export const labelledSlots = (node) => slotsOf(node).filter((one) => !one.optional || one.target);

export const firstOf = (definition) => definition.start ?? Object.keys(definition.nodes ?? {})[0];

// Every line that is drawn: from a node's slot to another node.
export function edgesOf(definition) {
  const nodes = definition.nodes ?? {};
  const edges = [];
  const first = firstOf(definition);
  if (first in nodes) edges.push({ source: TRIGGER, slot: "start", target: first, label: "" });
  for (const [name, node] of Object.entries(nodes))
    for (const { slot, label, target } of slotsOf(node))
      if (typeof target === "string" && target in nodes) edges.push({ source: name, slot, target, label });
  return edges;
}

export function freeName(definition, stem) {
  const taken = definition.nodes ?? {};
  if (!(stem in taken)) return stem;
  for (let i = 2; ; i++) if (!(`${stem}_${i}` in taken)) return `${stem}_${i}`;
}

const remaining = (split) => {
  const percent = Object.values(split).reduce((sum, share) => sum + (parseFloat(share) * (/%/.test(share) ? 1 : 100) || 0), 0);
  return `${Math.max(0, +(100 - percent).toFixed(6))}%`;
};

// The definition with a slot of a node leading to a target; a slot named + becomes a new line of its list.
export function connected(definition, source, slot, target) {
  if (source === TRIGGER) {
    const { start, ...rest } = definition;
    return Object.keys(definition.nodes)[0] === target ? rest : { ...definition, start: target };
  }
  const node = definition.nodes[source];
  const [field, which] = slot.split(".");
  let changed;
  if (field === "split") {
    if (target in node.split) return definition;
    changed = { ...node, split: which === "+" ? { ...node.split, [target]: remaining(node.split) } : withKey(node.split, which, target) };
  } else if (which === "+") {
    changed = { ...node, [field]: [...node[field], field === "decide" ? { if: "", go: target } : { await: "", go: target }] };
  } else {
    changed = withAt(node, which === undefined ? [field] : [field, +which, "go"], target);
  }
  return withAt(definition, ["nodes", source], changed);
}

// The definition with a slot that leads nowhere.
export function disconnected(definition, source, slot) {
  if (source === TRIGGER) return definition;
  const [field, which] = slot.split(".");
  const path = which === undefined ? [field] : field === "split" ? [field, which] : [field, +which, "go"];
  return withAt(definition, ["nodes", source, ...path], undefined);
}

export function withNode(definition, name, node, position) {
  const nodes = { ...definition.nodes, [name]: node };
  return { ...definition, nodes, ...(position ? { layout: { ...definition.layout, [name]: position } } : {}) };
}

// The definition without some nodes: what led to them leads nowhere.
export function withoutNodes(definition, names) {
  let result = definition;
  for (const { source, slot, target } of edgesOf(definition))
    if (names.includes(target) && !names.includes(source) && source !== TRIGGER) result = disconnectedAll(result, source, target);
  const keep = (mapping) => Object.fromEntries(Object.entries(mapping).filter(([name]) => !names.includes(name)));
  result = { ...result, nodes: keep(result.nodes) };
  if (names.includes(result.start)) delete result.start;
  if (result.layout) result.layout = keep(result.layout);
  if (result.layout && Object.keys(result.layout).length === 0) delete result.layout;
  return result;
}

function disconnectedAll(definition, source, target) {
  for (const { slot } of slotsOf(definition.nodes[source]).filter((one) => one.target === target))
    definition = disconnected(definition, source, slot);
  return definition;
}

// The definition with a node under another name, wherever it is named: targets, arms, conditions, places.
export function renamed(definition, from, to) {
  const inText = (text) =>
    text.replace(MESSAGE, (whole, kind, name) => {
      const [head, ...rest] = name.split(".");
      return head === from ? whole.slice(0, whole.length - name.length) + [to, ...rest].join(".") : whole;
    });
  const targets = ["next", "then", "else", "go", "skipped", "failed", "start", "since"];
  const conditions = ["if", "where", "when", "await", "wait_for", "condition"];
  const inside = (value, key) => {
    if (Array.isArray(value)) return value.map((one) => inside(one, key));
    if (isMapping(value)) {
      const parts = Object.entries(value).map(([name, part]) => [name, inside(part, name)]);
      return key === "split" ? withKey(Object.fromEntries(parts), from, to) : Object.fromEntries(parts);
    }
    if (typeof value !== "string") return value;
    if (targets.includes(key)) return value === from ? to : value;
    return conditions.includes(key) ? inText(value) : value;
  };
  const { nodes, layout, segments, ...rest } = definition;
  const result = {};
  for (const key of Object.keys(definition)) {
    if (key === "nodes") result.nodes = withKey(Object.fromEntries(Object.entries(nodes).map(([n, v]) => [n, inside(v, "")])), from, to);
    else if (key === "layout") result.layout = withKey(layout, from, to);
    else result[key] = key === "segments" ? segments : inside(rest[key], key);
  }
  return result;
}
