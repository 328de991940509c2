// Where boxes and lines go: layers from the top down, by dagre (after Gansner et al. 1993 and Sugiyama et al. 1981).
import { Graph, layout } from "@dagrejs/dagre";
import { edgesOf, firstOf, labelledSlots, TRIGGER } from "./definition.js";

export const WIDTH = 226;
const LINE = 16;
const MOST_LINES = 4;

export const linesOf = (facts) => (facts ?? []).slice(0, MOST_LINES);
export const heightOf = (facts, node) => 40 + LINE * linesOf(facts).length + (labelledSlots(node).length > 1 ? 18 : 0);

const keyOf = (source, slot) => `${source}|${slot}`;

function reached(edges) {
  const found = new Set([TRIGGER]);
  for (const one of found) for (const { source, target } of edges) if (source === one) found.add(target);
  return found;
}

// Positions of all nodes (top left corners), and of all lines their `points` and where their label is, `x` and `y`.
// What nothing leads to yet stands in a column beside the journey.
export function arranged(definition, facts, labelled) {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", nodesep: 34, ranksep: labelled ? 22 : 24, edgesep: 14, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const sizes = { [TRIGGER]: heightOf(facts[TRIGGER], {}) };
  for (const [name, node] of Object.entries(definition.nodes ?? {})) sizes[name] = heightOf(facts[name], node);
  const edges = edgesOf(definition);
  const inside = reached(edges);
  for (const name of inside) graph.setNode(name, { width: WIDTH, height: sizes[name] });
  for (const { source, slot, target } of edges)
    if (inside.has(source))
      graph.setEdge(source, target, { width: labelled ? 118 : 30, height: labelled ? 30 : 14, labelpos: "c" }, slot);
  layout(graph);
  const positions = {};
  for (const name of graph.nodes()) {
    const { x, y, width, height } = graph.node(name);
    positions[name] = { x: Math.round(x - width / 2), y: Math.round(y - height / 2) };
  }
  const beside = Math.max(...Object.values(positions).map((one) => one.x)) + WIDTH + 60;
  let below = 8;
  for (const name of Object.keys(sizes).filter((one) => !inside.has(one))) {
    positions[name] = { x: beside, y: below };
    below += sizes[name] + 28;
  }
  const ways = {};
  for (const edge of graph.edges()) ways[keyOf(edge.v, edge.name)] = graph.edge(edge);
  return { positions, ways };
}

// The places written in the definition; a node without one goes below the one that leads to it.
export function placed(definition, facts) {
  const written = definition.layout ?? {};
  const positions = {};
  const isPlace = (place) => Array.isArray(place) && place.length === 2 && place.every(Number.isFinite);
  for (const name of Object.keys(definition.nodes ?? {}))
    if (isPlace(written[name])) positions[name] = { x: written[name][0], y: written[name][1] };
  if (Object.keys(positions).length === 0) return null;
  const above = positions[firstOf(definition)] ?? Object.values(positions)[0];
  positions[TRIGGER] = { x: above.x, y: above.y - heightOf(facts[TRIGGER], {}) - 56 };
  const edges = edgesOf(definition);
  for (const name of Object.keys(definition.nodes ?? {})) {
    if (positions[name]) continue;
    const before = edges.find((edge) => edge.target === name && positions[edge.source]);
    const from = positions[before?.source ?? TRIGGER];
    const place = { x: from.x, y: from.y + heightOf(facts[before?.source ?? TRIGGER], definition.nodes[before?.source]) + 60 };
    while (Object.values(positions).some((one) => Math.abs(one.x - place.x) < WIDTH && Math.abs(one.y - place.y) < 60)) place.x += WIDTH + 30;
    positions[name] = place;
  }
  return positions;
}

// A smooth way through points, as SVG: straight runs with rounded corners.
export function smooth(points) {
  const [first, ...rest] = points;
  let path = `M${first.x},${first.y}`;
  for (let i = 0; i < rest.length - 1; i++) {
    const middle = { x: (rest[i].x + rest[i + 1].x) / 2, y: (rest[i].y + rest[i + 1].y) / 2 };
    const end = i === rest.length - 2 ? rest[i + 1] : middle;
    path += `Q${rest[i].x},${rest[i].y} ${end.x},${end.y}`;
  }
  return rest.length === 1 ? `${path}L${rest[0].x},${rest[0].y}` : path;
}
