// The journey canvas: nodes by verb, their branches as lines, a form for what is selected, faults, and layers of numbers.
import { applyNodeChanges, Background, ReactFlow, ReactFlowProvider, useReactFlow } from "@xyflow/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { arranged, heightOf, placed, WIDTH } from "./arrange.js";
import { connected, disconnected, edgesOf, freeName, labelledSlots, renamed, slotsOf, TRIGGER, verbOf, withAt, withNode, withoutNodes } from "./definition.js";
import { Dials, Outcome } from "./dials.jsx";
import { pngOf, save, svgOf } from "./files.js";
import { Icon, JourneyEdge, JourneyNode, Words } from "./drawing.jsx";
import { Field, Form } from "./fields.jsx";
import { created, pushed, redone, undone } from "./history.js";
import { useTheme, useTrait } from "./hooks.js";

const nodeTypes = { node: JourneyNode };
const edgeTypes = { line: JourneyEdge };
const ARROW = { type: "arrowclosed", width: 14, height: 14, markerUnits: "userSpaceOnUse" };
const PRINT = { paper: "#fff", ink: "#1b1f24" }; // a drawing that is taken along is light, whatever the notebook is
const isTyping = (target) => /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);

// The document of the canvas with its history: `journeys` by name, the drawn one under the empty name.
function useDocument(model) {
  const [history, setHistory] = useState(() => created(model.get("document")));
  const latest = useRef(history);
  latest.current = history;
  const sending = useRef(0);
  const told = useRef(model.get("document")); // what Python has or was sent
  useEffect(() => {
    const changed = () => {
      const text = model.get("document");
      if (text === told.current) return;
      told.current = text;
      setHistory((old) => pushed(old, text, "", 0));
    };
    model.on("change:document", changed);
    return () => model.off("change:document", changed);
  }, [model]);
  const send = (text) => {
    clearTimeout(sending.current);
    sending.current = setTimeout(() => {
      told.current = text;
      model.set("document", text);
      model.save_changes();
    }, 120);
  };
  const step = (change) => {
    const next = change(latest.current);
    if (!next || next === latest.current) return false;
    latest.current = next;
    setHistory(next);
    send(next.text);
    return true;
  };
  const { journeys, names } = useMemo(() => JSON.parse(history.text), [history.text]);
  return {
    journeys,
    // `from` and `to` where a node of the journey `key` got another name, so that its comments go with it.
    write: (next, place = "", key, from, to) => {
      const { [from]: first = from, ...rest } = names[key] ?? {};
      const known = from === undefined ? names : { ...names, [key]: to === first ? rest : { ...rest, [to]: first } };
      return step((old) => pushed(old, JSON.stringify({ journeys: next, names: known }), place, performance.now()));
    },
    undo: () => step(undone),
    redo: () => step(redone),
    canUndo: history.past.length > 0,
    canRedo: history.future.length > 0,
  };
}

function said(node, name, mark) {
  const leads = slotsOf(node).filter((one) => one.target).map((one) => `${one.label}: ${one.target}`).join(", ");
  return [name, verbOf(node), leads, mark?.title ?? mark?.text].filter(Boolean).join("; ");
}

function Canvas({ model, host }) {
  const words = useTrait(model, "words");
  const checked = useTrait(model, "checked");
  const layers = useTrait(model, "layers");
  const forms = useTrait(model, "forms");
  const known = useTrait(model, "vocabulary");
  const readOnly = useTrait(model, "read_only");
  const dials = useTrait(model, "dials") ?? [];
  const language = useTrait(model, "language");
  const outcome = useTrait(model, "outcome") ?? {};
  const height = useTrait(model, "height");
  const dark = useTheme(host);
  const doc = useDocument(model);
  const flow = useReactFlow();
  const [opened, setOpened] = useState([]); // the `run` nodes that lead to the journey that is shown
  const [selected, setSelected] = useState([]); // names of nodes
  const [edge, setEdge] = useState(null); // id of the selected line
  const [layer, setLayer] = useState(undefined);
  const [spoken, setSpoken] = useState("");
  const [nodes, setNodes] = useState([]);
  const panel = useRef(null);

  // Files come from Python; pictures are made of its drawings here.
  useEffect(() => {
    const came = async ({ file, fault }) => {
      if (fault) setSpoken(fault);
      if (!file) return;
      if (file.kind === "code") await navigator.clipboard?.writeText(file.text);
      save(file.name, file.kind === "png" ? await pngOf(svgOf(file.text), PRINT) : file.text, file.type);
      setSpoken(file.kind === "code" ? words.copied : `${words.saved} ${file.name}`);
    };
    model.on("msg:custom", came);
    return () => model.off("msg:custom", came);
  }, [words]);

  // When the hand rests, the forecast of a sample becomes that of all.
  useEffect(() => {
    if (!layers.forecast?.partial) return;
    const later = setTimeout(() => model.send({ ask: "refine" }), 700);
    return () => clearTimeout(later);
  }, [layers]);

  // Which journey is shown, by following the opened `run` nodes as far as they exist.
  const keys = [""];
  for (const run of opened) {
    const next = doc.journeys[keys[keys.length - 1]]?.nodes?.[run]?.run;
    if (next === undefined || !(next in doc.journeys)) break;
    keys.push(next);
  }
  const key = keys[keys.length - 1];
  const way = opened.slice(0, keys.length - 1);
  const definition = doc.journeys[key];
  const facts = useMemo(() => ({ ...(checked.facts?.[key] ?? {}), [TRIGGER]: checked.triggers?.[key] ?? [] }), [checked, key]);
  const faults = useMemo(() => (checked.faults ?? []).filter((one) => one.journey === key), [checked, key]);
  const shownName = layer === undefined || (layer && !(layer in layers)) ? Object.keys(layers)[0] : layer;
  const shown = layers[shownName];
  const prefix = way.map((run) => `${run}.`).join("");
  const gone = (way.length === 0 && shown?.gone) || {};

  const drawn = useMemo(
    () => (gone.nodes ? { ...definition, nodes: { ...definition.nodes, ...gone.nodes } } : definition),
    [definition, gone.nodes],
  );
  const drawnFacts = useMemo(() => ({ ...gone.facts, ...facts }), [gone.facts, facts]);
  const everLabelled = useRef(false);
  everLabelled.current ||= Object.keys(layers).length > 0;
  const labelled = everLabelled.current; // the drawing does not move when numbers come and go
  const shape = useMemo(
    () => JSON.stringify([edgesOf(drawn).map((one) => [one.source, one.slot, one.target]), Object.keys(drawn.nodes ?? {}).map((name) => [name, heightOf(drawnFacts[name], drawn.nodes[name])]), drawn.layout, heightOf(facts[TRIGGER], {})]),
    [drawn, drawnFacts],
  );
  const arrangement = useMemo(() => {
    const started = performance.now();
    const positions = placed(drawn, drawnFacts);
    const result = positions ? { positions, ways: {} } : arranged(drawn, drawnFacts, labelled);
    host.dataset.layoutMs = (performance.now() - started).toFixed(1);
    return result;
  }, [shape, labelled]);

  const write = (change, place, says, from, to) => {
    const next = change(definition);
    if (next === definition) return;
    doc.write({ ...doc.journeys, [key]: next }, place && `${key}/${place}`, key, from, to);
    if (says) setSpoken(says);
  };

  // The nodes of the picture: made from the definition, where they are dragged kept until the drag is over.
  useEffect(() => {
    setNodes((before) => {
      const old = new Map(before.map((one) => [one.id, one]));
      return [TRIGGER, ...Object.keys(drawn.nodes ?? {})].map((name) => {
        const isTrigger = name === TRIGGER;
        const node = isTrigger ? {} : drawn.nodes[name];
        // Ways out stand in the order of where they lead, so that lines do not cross at their beginning.
        const across = ({ slot, more, target }) => (more ? Infinity : (arrangement.ways[`${name}|${slot}`]?.x ?? arrangement.positions[target]?.x ?? 0));
        const slots = isTrigger ? [{ slot: "start", label: words.start, target: true }] : slotsOf(node).sort((a, b) => across(a) - across(b));
        const mark = shown?.nodes?.[isTrigger ? TRIGGER : prefix + name];
        const place = isTrigger ? null : ["nodes", name];
        const problem = faults.filter((one) => (place ? one.path[0] === "nodes" && one.path[1] === name : one.path[0] !== "nodes")).length;
        const ghost = !isTrigger && !(name in (definition.nodes ?? {}));
        const title = isTrigger ? (way.length ? words.start : words.trigger) : name;
        return {
          ...old.get(name),
          id: name,
          type: "node",
          position: old.get(name)?.dragging ? old.get(name).position : (arrangement.positions[name] ?? { x: 0, y: 0 }),
          width: WIDTH,
          height: heightOf(drawnFacts[name], node),
          selected: selected.includes(name),
          draggable: !isTrigger && !readOnly && !ghost,
          deletable: false,
          connectable: !readOnly && !ghost,
          ariaLabel: isTrigger ? [words.trigger, ...(facts[TRIGGER] ?? [])].join("; ") : said(node, name, mark),
          data: {
            name: title, verb: isTrigger ? "trigger" : verbOf(node), facts: drawnFacts[name] ?? [verbOf(node)], slots, problem, mark, ghost, readOnly,
            open: slots.filter((one) => !one.more && !one.optional && !one.target).map((one) => one.slot),
            opens: !isTrigger && node.run in doc.journeys ? () => enter([...way, name]) : undefined,
          },
        };
      });
    });
  }, [drawn, drawnFacts, arrangement, selected, shown, faults, readOnly, words]);

  const edges = useMemo(() => {
    const own = edgesOf(drawn).map((one) => ({ ...one, ghost: !(one.source in (definition.nodes ?? {})) && one.source !== TRIGGER }));
    const lost = (gone.edges ?? []).map(([source, slot, target]) => ({ source, slot, target, ghost: true }));
    return [...own, ...lost].map(({ source, slot, target, ghost }) => {
      const id = `${source}|${slot}${ghost ? "|gone" : ""}`;
      const mark = ghost ? undefined : shown?.edges?.[source === TRIGGER ? id : `${prefix}${id}`];
      return {
        id, source, target, sourceHandle: ghost ? undefined : slot, type: "line", selected: id === edge, deletable: false,
        reconnectable: readOnly || ghost ? false : "target", focusable: !ghost, markerEnd: ARROW,
        ariaLabel: `${source === TRIGGER ? words.trigger : source} ${slot} ${words.leads_to} ${target}${mark?.text ? `: ${mark.title ?? mark.text}` : ""}`,
        data: { mark, ghost, way: arrangement.ways[`${source}|${slot}`] },
      };
    });
  }, [drawn, arrangement, shown, edge, readOnly, words]);

  // All that fits at a size that can be read; a longer journey from its trigger down.
  const isMoved = useRef(false);
  const begun = useRef({});
  const fit = useCallback((duration = 0) => {
    const pane = host.querySelector(".jc-pane");
    const { positions } = latest.current;
    const places = Object.values(positions);
    const left = Math.min(...places.map((one) => one.x));
    const top = Math.min(...places.map((one) => one.y));
    const width = Math.max(...places.map((one) => one.x)) + WIDTH - left;
    const height = Math.max(...places.map((one) => one.y)) + 90 - top;
    const zoom = Math.max(0.3, Math.min(1, (pane.clientWidth - 40) / width, Math.max(0.62, (pane.clientHeight - 32) / height)));
    isMoved.current = false;
    flow.setViewport({ zoom, x: (pane.clientWidth - width * zoom) / 2 - left * zoom, y: 16 - top * zoom }, { duration });
  }, []);
  const latest = useRef(arrangement);
  latest.current = arrangement;
  const enter = (path) => { isMoved.current = false; setOpened(path); setSelected([]); setEdge(null); };
  // What was not moved by hand is shown whole again when its layout changes.
  useEffect(() => {
    const later = setTimeout(() => isMoved.current || fit(), 30);
    return () => clearTimeout(later);
  }, [arrangement]);
  useEffect(() => { model.set("selected", selected.length === 1 && selected[0] !== TRIGGER ? prefix + selected[0] : ""); model.save_changes(); }, [selected, prefix]);

  const onNodesChange = useCallback((changes) => {
    const select = changes.filter((one) => one.type === "select");
    if (select.length)
      setSelected((old) => {
        const next = new Set(old);
        for (const { id, selected: is } of select) is ? next.add(id) : next.delete(id);
        return next.size === old.length && old.every((one) => next.has(one)) ? old : [...next];
      });
    const rest = changes.filter((one) => one.type !== "select" && one.type !== "remove");
    if (rest.length) setNodes((old) => applyNodeChanges(rest, old));
  }, []);

  // The first node that is put somewhere by hand fixes the places of all, so that the others stay where they are.
  const settle = (moved) => {
    if (!moved.length || readOnly) return;
    const places = Object.fromEntries(
      nodes.filter((one) => one.id in (definition.nodes ?? {})).map((one) => {
        const now = moved.find((other) => other.id === one.id) ?? one;
        return [one.id, [Math.round(now.position.x), Math.round(now.position.y)]];
      }),
    );
    write((old) => ({ ...old, layout: { ...old.layout, ...places } }), "layout");
  };
  const onKeyMoved = (event) => {
    if (event.key.startsWith("Arrow") && !event.altKey && !isTyping(event.target) && event.target.closest?.(".react-flow__node")) {
      const moved = nodes.filter((one) => selected.includes(one.id) && one.id !== TRIGGER);
      setTimeout(() => settle(flow.getNodes().filter((one) => moved.some((other) => other.id === one.id))), 0);
    }
  };

  const add = (verb, position) => {
    const name = freeName(definition, forms.verbs[verb].stem);
    const node = { ...forms.verbs[verb].added };
    if (verb === "send") node.send = name;
    const from = selected.length === 1 ? selected[0] : null;
    const after = position ? null : follows(from);
    write((old) => {
      const near = position ?? (old.layout && nearby(from ?? after?.source));
      let next = withNode(old, name, node, near);
      if (position && !old.layout) next = { ...next, layout: { ...allPlaces(), [name]: position } };
      if (!after) return next;
      next = connected(next, after.source, after.slot, name);
      const on = slotsOf(node).filter((one) => !one.optional).pop();
      return after.target && on ? connected(next, name, on.slot, after.target) : next;
    }, "", `${words.added} ${name}`);
    setSelected([name]);
    setEdge(null);
  };
  // Where a new node goes: on the selected line, or behind the selected node, in between where that leads on already.
  const follows = (from) => {
    if (edge) return edgesOf(definition).find((one) => `${one.source}|${one.slot}` === edge);
    const ways = from === TRIGGER ? edgesOf(definition).filter((one) => one.source === TRIGGER) : from ? labelledSlots(definition.nodes[from] ?? {}) : [];
    const free = ways.find((one) => !one.more && !one.target) ?? (ways.length === 1 ? ways[0] : null);
    return free && { source: from, slot: free.slot, target: free.target };
  };
  const allPlaces = () => Object.fromEntries(nodes.filter((one) => one.id in (definition.nodes ?? {})).map((one) => [one.id, [Math.round(one.position.x), Math.round(one.position.y)]]));
  const nearby = (from) => {
    const box = nodes.find((one) => one.id === from) ?? nodes[nodes.length - 1];
    return [Math.round(box.position.x), Math.round(box.position.y + (box.height ?? 60) + 60)];
  };

  const remove = () => {
    if (readOnly) return;
    if (edge) {
      const [source, slot] = edge.split("|");
      write((old) => disconnected(old, source, slot), "", words.removed_line);
      setEdge(null);
      return;
    }
    const names = selected.filter((name) => name in (definition.nodes ?? {}));
    if (!names.length) return;
    write((old) => withoutNodes(old, names), "", `${words.removed} ${names.join(", ")}`);
    setSelected([]);
    host.querySelector(".jc-pane")?.focus();
  };
  const tidy = () => { write(({ layout, ...rest }) => (layout ? rest : { ...rest }), "", words.tidied); isMoved.current = false; fit(300); };
  const undo = () => doc.undo() && setSpoken(words.undone);
  const redo = () => doc.redo() && setSpoken(words.redone);

  const focusNode = (name) => {
    setSelected([name]);
    setEdge(null);
    const box = nodes.find((one) => one.id === name);
    if (box) isMoved.current = true;
    if (box) flow.setCenter(box.position.x + WIDTH / 2, box.position.y + 40, { zoom: Math.max(0.7, flow.getZoom()), duration: 200 });
    setTimeout(() => host.querySelector(`.react-flow__node[data-id="${CSS.escape(name)}"]`)?.focus(), 30);
  };

  const onKeyDown = (event) => {
    event.stopPropagation();
    const modified = event.ctrlKey || event.metaKey;
    if (isTyping(event.target)) {
      if (event.key === "Escape") focusNode(selected[0] ?? TRIGGER);
      return;
    }
    if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); remove(); }
    else if (modified && event.key.toLowerCase() === "z") { event.preventDefault(); event.shiftKey ? redo() : undo(); }
    else if (modified && event.key.toLowerCase() === "y") { event.preventDefault(); redo(); }
    else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const from = event.target.closest?.(".react-flow__node")?.dataset.id ?? selected[0] ?? TRIGGER;
      const next = edgesOf(definition).find((one) => (event.key === "ArrowDown" ? one.source === from : one.target === from));
      if (next) focusNode(event.key === "ArrowDown" ? next.target : next.source);
    } else if (event.key === "Enter" && event.target.closest?.(".react-flow__node") && selected.includes(event.target.closest(".react-flow__node").dataset.id)) {
      panel.current?.querySelector("input,textarea,select")?.focus();
    } else onKeyMoved(event);
  };

  const onDrop = (event) => {
    event.preventDefault();
    const verb = event.dataTransfer.getData("application/x-journey-verb");
    if (!(verb in forms.verbs)) return;
    const place = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
    add(verb, [Math.round(place.x - WIDTH / 2), Math.round(place.y - 20)]);
  };

  const count = (checked.faults ?? []).length;
  return (
    <Words.Provider value={words}>
      <div class={`jc${readOnly ? " jc-read-only" : ""}`} lang={language} data-theme={dark ? "dark" : "light"} style={{ "--jc-height": `${height}px` }} onKeyDown={onKeyDown}
        data-lm-suppress-shortcuts="true" role="application" aria-label={`${words.canvas}: ${doc.journeys[""].journey ?? ""}`}>
        <Toolbar {...{ words, forms, readOnly, doc, add, undo, redo, tidy, remove, fit, layers, shownName, setLayer, speaks: model.send && { now: language, change: (code) => { model.set("language", code); model.save_changes(); } }, ask: model.send && ((kind) => model.send({ ask: "file", kind })), canRemove: !!edge || selected.some((one) => one !== TRIGGER) }} />
        {way.length > 0 && (
          <nav class="jc-way" aria-label={words.parts}>
            {["", ...way].map((run, i) => (
              <span key={i}>{i > 0 && " › "}<button type="button" disabled={i === way.length} onClick={() => enter(way.slice(0, i))}>{i === 0 ? doc.journeys[""].journey : `${run} (${keys[i]})`}</button></span>
            ))}
          </nav>
        )}
        <div class="jc-main">
          <div class="jc-pane" tabIndex={-1} onDragOver={(event) => { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; }} onDrop={onDrop}>
            <ReactFlow nodes={nodes} edges={edges} nodeTypes={nodeTypes} edgeTypes={edgeTypes} onNodesChange={onNodesChange}
              onNodeDragStop={(_, __, moved) => settle(moved)} onSelectionDragStop={(_, moved) => settle(moved)}
              onMoveStart={(_, view) => { begun.current = view; }}
              onMoveEnd={(event, view) => { isMoved.current ||= !!event && (view.x !== begun.current.x || view.y !== begun.current.y || view.zoom !== begun.current.zoom); }} onNodeDragStart={() => { isMoved.current = true; }}
              onNodeDoubleClick={(_, node) => node.data.opens?.()}
              onEdgeClick={(_, one) => { setEdge(one.id); setSelected([]); }} onPaneClick={() => { setEdge(null); setSelected([]); }} onNodeClick={() => setEdge(null)}
              onEdgesChange={(changes) => changes.forEach((one) => one.type === "select" && (one.selected ? (setEdge(one.id), setSelected([])) : setEdge((old) => (old === one.id ? null : old))))}
              onConnect={({ source, sourceHandle, target }) => write((old) => connected(old, source, sourceHandle, target), "", `${source} ${words.leads_to} ${target}`)}
              onReconnect={(old, { source, sourceHandle, target }) => write((now) => connected(now, source, sourceHandle, target))}
              isValidConnection={({ source, target }) => source !== target && target !== TRIGGER}
              nodesConnectable={!readOnly} deleteKeyCode={null} selectionKeyCode="Shift" multiSelectionKeyCode="Shift"
              preventScrolling={false} zoomOnScroll={false} zoomOnDoubleClick={false} minZoom={0.15} maxZoom={1.6}
              connectionRadius={70} ariaLabelConfig={words.flow}>
              <Background gap={22} size={1.2} />
            </ReactFlow>
            <div class="jc-zoom" role="group" aria-label={words.zoom}>
              <button type="button" aria-label={words.zoom_in} onClick={() => { isMoved.current = true; flow.zoomIn(); }}>+</button>
              <button type="button" aria-label={words.zoom_out} onClick={() => { isMoved.current = true; flow.zoomOut(); }}>−</button>
              <button type="button" aria-label={words.fit} onClick={() => fit(200)}><Icon of="open" /></button>
            </div>
            {shown?.legend?.length > 0 && <ul class="jc-legend" aria-label={words.legend}>{shown.legend.map(({ tone, text }) => <li key={text}><svg viewBox="0 0 28 8" aria-hidden="true"><path class={`jc-edge jc-tone-${tone}`} d="M0 4h28" /></svg>{text}</li>)}</ul>}
          </div>
          <Inspector {...{ panel, words, forms, known, readOnly, definition, selected, faults, write, setSelected, doc, isPart: key !== "", dials: key === "" ? dials : [], enter: (name) => enter([...way, name]) }} />
        </div>
        <Outcome outcome={outcome} words={words} />
        <div class="jc-foot">
          <div class="jc-status" role="status">
            {count ? `${words.faults}: ${count}` : words.sound}
            {checked.version && <> · {words.version} <code>{checked.version}</code></>}
            {shown?.summary && <> · {shown.summary}</>}
          </div>
          {count > 0 && (
            <ul class="jc-faults" aria-label={words.faults}>
              {checked.faults.map((one, i) => (
                <li key={i}>
                  <button type="button" disabled={one.journey !== key} onClick={() => { if (one.path[0] === "nodes" && one.path[1] in (definition.nodes ?? {})) focusNode(String(one.path[1])); else setSelected([TRIGGER]); }}>
                    {one.journey && `${one.journey}: `}{one.path.join(".")}{one.path.length > 0 && ": "}{one.message}
                  </button>
                </li>
              ))}
            </ul>
          )}
        </div>
        <div class="jc-said" aria-live="polite">{spoken}</div>
      </div>
    </Words.Provider>
  );
}

function Toolbar({ words, forms, readOnly, doc, add, undo, redo, tidy, remove, layers, shownName, setLayer, ask, speaks, canRemove }) {
  const names = Object.keys(layers);
  return (
    <div class="jc-bar" role="toolbar" aria-label={words.tools}>
      {!readOnly && Object.entries(forms.verbs).map(([verb, { label, hint }]) => (
        <button type="button" key={verb} class={`jc-verb jc-verb-${verb}`} draggable title={hint} aria-label={`${words.add} ${verb}`} data-verb={verb}
          onDragStart={(event) => { event.dataTransfer.setData("application/x-journey-verb", verb); event.dataTransfer.effectAllowed = "copy"; }} onClick={() => add(verb)}>
          <Icon of={verb} /><span>{label}</span>
        </button>
      ))}
      {!readOnly && ( // a tool that has nothing to do keeps the focus, so that keys still reach the canvas
        <span class="jc-group">
          <button type="button" onClick={undo} aria-disabled={!doc.canUndo} data-do="undo" title="Ctrl+Z">{words.undo}</button>
          <button type="button" onClick={redo} aria-disabled={!doc.canRedo} data-do="redo" title="Ctrl+Y">{words.redo}</button>
          <button type="button" onClick={remove} aria-disabled={!canRemove} data-do="delete" title="Delete">{words.delete}</button>
          <button type="button" onClick={tidy} data-do="tidy">{words.tidy}</button>
        </span>
      )}
      {speaks && (
        <select class="jc-language" aria-label={words.language} value={speaks.now} onChange={(event) => speaks.change(event.target.value)}>
          {Object.entries(words.languages).map(([code, name]) => <option key={code} value={code} lang={code}>{name}</option>)}
        </select>
      )}
      {ask && (
        <select class="jc-files" aria-label={words.files} value="" onChange={(event) => { ask(event.target.value); event.target.value = ""; }}>
          <option value="">{words.files}</option>
          {Object.entries(words.kinds).map(([kind, said]) => <option key={kind} value={kind}>{said}</option>)}
        </select>
      )}
      {names.length > 0 && (
        <span class="jc-group" role="radiogroup" aria-label={words.layers}>
          {[...names, ""].map((name) => (
            <button type="button" role="radio" key={name} aria-checked={name === (shownName ?? "")} data-layer={name || "none"} onClick={() => setLayer(name)}>{name ? layers[name].title : words.no_layer}</button>
          ))}
        </span>
      )}
    </div>
  );
}

function Name({ name, definition, onRename, words, readOnly }) {
  const [text, setText] = useState(name);
  useEffect(() => setText(name), [name]);
  const clash = text !== name && text in definition.nodes;
  const done = () => (clash || !text ? setText(name) : text !== name && onRename(text));
  return (
    <div class="jc-field" data-path="name">
      <label class="jc-label" for="jc-name">{words.name}</label>
      <input id="jc-name" type="text" value={text} disabled={readOnly} spellcheck={false} aria-invalid={clash} onInput={(event) => setText(event.target.value)} onBlur={done} onKeyDown={(event) => event.key === "Enter" && event.target.blur()} />
      {clash && <div class="jc-fault" role="alert">{words.taken}</div>}
    </div>
  );
}

function Inspector({ panel, words, forms, known, readOnly, definition, selected, faults, write, setSelected, doc, isPart, dials, enter }) {
  const name = selected.length === 1 ? selected[0] : null;
  const node = name && name !== TRIGGER ? definition.nodes?.[name] : null;
  const nodes = Object.keys(definition.nodes ?? {});
  const verb = node ? verbOf(node) : null;
  const form = verb ? forms.verbs[verb] : null;
  const own = faults.filter((one) => (node ? one.path[0] === "nodes" && one.path[1] === name : one.path[0] !== "nodes"));
  const below = node ? own.map((one) => ({ ...one, path: one.path.slice(2) })) : own;
  const fields = node ? (form?.fields ?? []) : forms.journey.filter((one) => !isPart || one.part);
  const mine = dials.filter((one) => !node || one.group === name);
  const dialled = <Dials dials={mine} definition={definition} words={words} onWrite={(next, place) => write(() => next, place)} />;
  const elsewhere = node ? below.filter((one) => one.path.length === 0) : [];
  return (
    <aside class="jc-panel" ref={panel} tabIndex={readOnly ? 0 : undefined} data-verb={verb ?? "journey"} aria-label={node ? `${words.options}: ${name}` : words.journey}>
      <Form.Provider value={{ words, known, nodes: nodes.filter((one) => one !== name), readOnly, faults: below }}>
        {selected.length > 1 ? <p>{words.several.replace("{n}", selected.length)}</p> : node ? (
          <>
            <h3><Icon of={verb} />{form?.label ?? words.no_verb}</h3>
            <p class="jc-hint">{form?.hint}</p>
            {elsewhere.map((one) => <p key={one.message} class="jc-fault">{one.message}</p>)}
            <Name {...{ name, definition, words, readOnly }} onRename={(to) => { write((old) => renamed(old, name, to), "", `${name} → ${to}`, name, to); setSelected([to]); }} />
            {fields.map((field) => <Field key={`${name}/${field.path.join(".")}`} field={field} owner={node} path={[]} onChange={(next) => write((old) => withAt(old, ["nodes", name], next), `${name}/${field.path.join(".")}`)} />)}
            {dialled}
            {verb === "run" && node.run && (node.run in doc.journeys
              ? <button type="button" class="jc-add" onClick={() => enter(name)}>{words.open} {node.run}</button>
              : !readOnly && /^[A-Za-z_]\w*$/.test(node.run) && <button type="button" class="jc-add" onClick={() => doc.write({ ...doc.journeys, [node.run]: { ...forms.part, journey: node.run } })}>{words.make} {node.run}</button>)}
          </>
        ) : (
          <>
            {dialled}
            <h3><Icon of="trigger" />{words.journey}</h3>
            {fields.map((field) => <Field key={field.path.join(".")} field={field} owner={definition} path={[]} onChange={(next) => write(() => next, field.path.join("."))} />)}
          </>
        )}
      </Form.Provider>
    </aside>
  );
}

export const Editor = ({ model, host }) => (
  <ReactFlowProvider>
    <Canvas model={model} host={host} />
  </ReactFlowProvider>
);
