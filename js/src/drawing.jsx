// How a node and a line look.
import { BaseEdge, EdgeLabelRenderer, getBezierPath, Handle, Position, useUpdateNodeInternals } from "@xyflow/react";
import { createContext } from "preact";
import { memo } from "preact/compat";
import { useContext, useEffect } from "preact/hooks";
import { linesOf, smooth } from "./arrange.js";

// Each icon is one path in a square of 16.
const ICONS = {
  trigger: "M9 1 3 9h4l-1 6 7-9H9z",
  send: "M1 3h14v10H1zM1 3l7 6 7-6",
  wait: "M4 1h8M4 15h8M5 1c0 4 6 4 6 7s-6 3-6 7M11 1c0 4-6 4-6 7s6 3 6 7",
  wait_until: "M2 3h12v12H2zM2 7h12M5 1v4M11 1v4",
  wait_for: "M8 15A7 7 0 1 1 8 1a7 7 0 0 1 0 14zM8 4v4l3 2",
  decide: "M8 1l7 7-7 7-7-7z",
  split: "M8 15V9M8 9 2 3M8 9l6-6M2 7V3h4M14 7V3h-4",
  run: "M1 3h9v10H1zM10 6h5v7h-5M4 6l3 2-3 2z",
  set: "M2 12.5V14h1.5L13 4.5 11.5 3zM9 14h5",
  emit: "M8 10V1M4.5 4 8 1l3.5 3M2 8v6h12V8",
  call: "M5 2v4M11 2v4M3 6h10v2a5 5 0 0 1-10 0zM8 13v2",
  open: "M2 6V2h4M14 10v4h-4M2 2l5 5M14 14l-5-5",
  exit: "M6 2H2v12h4M6 8h9M11 4l4 4-4 4",
};

export const Icon = ({ of }) => (
  <svg class="jc-icon" viewBox="0 0 16 16" aria-hidden="true"><path d={ICONS[of] ?? ICONS.exit} /></svg>
);

export const Words = createContext({});

const bottom = (i, n) => ({ left: `${(100 * (i + 1)) / (n + 1)}%` });

const SPARE = { left: "92%" };

export const JourneyNode = memo(({ id, data }) => {
  const words = useContext(Words);
  const { name, verb, facts, slots, problem, mark, ghost, opens, readOnly } = data;
  const lines = linesOf(facts);
  const moved = useUpdateNodeInternals();
  const order = slots.map((one) => `${one.slot}${!!one.target}`).join();
  useEffect(() => moved(id), [order]); // lines begin where the ways out are now
  const drawn = slots.filter((one) => !(readOnly && one.more) && (!one.optional || one.target));
  const spare = readOnly ? [] : slots.filter((one) => one.optional && !one.target);
  return (
    <div class={`jc-node jc-verb-${verb || "none"}${ghost ? " jc-ghost" : ""}`} data-tone={mark?.tone} title={facts?.join("\n")}>
      {verb !== "trigger" && <Handle type="target" position={Position.Top} isConnectable={!readOnly && !ghost} aria-hidden="true" />}
      <div class="jc-head">
        <Icon of={verb} />
        <strong>{name}</strong>
        {problem > 0 && <span class="jc-badge jc-bad" title={words.faults}>{problem}</span>}
        {mark?.text && <span class="jc-badge" title={mark.title}>{mark.text}</span>}
        {opens && <button type="button" class="jc-open nodrag" aria-label={`${words.open} ${name}`} onClick={(event) => { event.stopPropagation(); opens(); }}><Icon of="open" /></button>}
      </div>
      {lines.map((line, i) => <div key={i} class="jc-line">{line}</div>)}
      {drawn.length > 1 && (
        <div class="jc-slots">
          {drawn.map(({ slot, label }, i) => <span key={slot} style={bottom(i, drawn.length)} title={label}>{label}</span>)}
        </div>
      )}
      {[...drawn, ...spare].map(({ slot, label }, i) => (
        <Handle key={slot} id={slot} type="source" position={Position.Bottom} style={i < drawn.length ? bottom(i, drawn.length) : SPARE} title={label} isConnectable={!readOnly && !ghost}
          aria-hidden="true" data-open={data.open?.includes(slot)} data-spare={i >= drawn.length} />
      ))}
    </div>
  );
});

export const JourneyEdge = memo(({ id, sourceX, sourceY, targetX, targetY, selected, data, markerEnd }) => {
  let path, x, y;
  if (data.way) {
    path = smooth([{ x: sourceX, y: sourceY }, ...data.way.points.slice(1, -1), { x: targetX, y: targetY }]);
    ({ x, y } = data.way);
  } else {
    [path, x, y] = getBezierPath({ sourceX, sourceY, sourcePosition: Position.Bottom, targetX, targetY, targetPosition: Position.Top, curvature: 0.35 });
  }
  const { mark, ghost } = data;
  const tone = ghost ? "removed" : mark?.tone;
  const width = mark?.width === undefined ? 1.5 : 1.2 + 5 * mark.width;
  return (
    <>
      <BaseEdge id={id} path={path} markerEnd={markerEnd} interactionWidth={18} style={{ strokeWidth: selected ? width + 1 : width }} className={`jc-edge${tone ? ` jc-tone-${tone}` : ""}`} />
      {mark?.text && (
        <EdgeLabelRenderer>
          <div class={`jc-label-box jc-tone-${tone ?? "plain"}`} style={{ transform: `translate(-50%,-50%) translate(${x}px,${y}px)` }} title={mark.title}>
            {mark.text.split("\n").map((line, i) => <span key={i}>{line}</span>)}
          </div>
        </EdgeLabelRenderer>
      )}
    </>
  );
});
