// Forms for the options of a node or a journey. What options there are is said by the library, as a list of fields.
import { createContext } from "preact";
import { useContext, useEffect, useId, useState } from "preact/hooks";
import { completions } from "./completion.js";
import { at, isMapping, withKey } from "./definition.js";
import { Messages, Suggesting } from "./suggesting.jsx";

// { words, known, nodes, readOnly, faults }: what all fields of a form need.
export const Form = createContext(null);

const samePath = (a, b) => a.length === b.length && a.every((part, i) => part === b[i]);
const within = (path, prefix) => path.length >= prefix.length && prefix.every((part, i) => part === path[i]);

function faultsAt(faults, path, deep) {
  return faults.filter((one) => (deep ? within(one.path, path) : samePath(one.path, path)));
}

const plainSuggest = (names) => (text) => {
  const low = text.toLowerCase();
  const options = names.filter(({ name }) => name.toLowerCase().includes(low) && name !== text);
  return { from: 0, options: options.slice(0, 60).map(({ name, detail }) => ({ text: name, insert: name, detail: detail ?? "" })) };
};

const named = (names) => names.map((name) => ({ name }));

function namesOf(kind, known, nodes, choices) {
  if (kind === "event") return Object.entries(known.events).map(([name, detail]) => ({ name, detail }));
  if (kind === "attribute") return Object.entries(known.attributes).map(([name, { kind: detail }]) => ({ name, detail }));
  if (kind === "suggest") return named(choices);
  const lists = { segment: known.segments, message: known.messages, journey: known.journeys, timezone: known.timezones, purpose: known.purposes, node: nodes };
  return named(lists[kind] ?? []);
}

// Numbers and flags are written as such, everything else as text.
const scalar = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text === "true" ? true : text === "false" ? false : text);

function Value({ field, value, onChange, path, label, id, invalid, describedBy }) {
  const { words, known, nodes, readOnly } = useContext(Form);
  const text = value === undefined || value === null ? "" : String(value);
  const write = (next) => onChange(next === "" && field.optional ? undefined : next);
  const attributes = { id, "aria-label": label, "aria-invalid": invalid, "aria-describedby": describedBy, disabled: readOnly };
  const shown = isMapping(value) || Array.isArray(value) ? JSON.stringify(value) : text;
  switch (field.kind) {
    case "condition":
    case "awaited":
      return <Suggesting multiline value={shown} onChange={write} label={label} id={id} invalid={invalid} describedBy={describedBy} disabled={readOnly}
        placeholder={field.hint} suggest={(one, cursor) => completions(known, one, cursor, field.kind === "awaited")} />;
    case "node":
      return (
        <select {...attributes} value={text} onChange={(event) => onChange(event.target.value || undefined)}>
          <option value="">{field.optional && field.hint ? field.hint : words.nowhere}</option>
          {[...new Set([...(field.extra ?? []), ...nodes, ...(text ? [text] : [])])].map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      );
    case "choice":
      return (
        <select {...attributes} value={text} onChange={(event) => onChange(event.target.value || undefined)}>
          {field.optional && <option value="">{field.hint ?? ""}</option>}
          {[...field.choices, ...(text && !field.choices.some(([one]) => one === text) ? [[text, text]] : [])].map(([one, said]) => <option key={one} value={one}>{said}</option>)}
        </select>
      );
    case "boolean":
      return <input {...attributes} type="checkbox" checked={value === true} onChange={(event) => onChange(event.target.checked || undefined)} />;
    case "days":
      return (
        <span class="jc-days" role="group" aria-label={label}>
          {field.choices.map(([day, said]) => {
            const days = Array.isArray(value) ? value : field.choices.map(([one]) => one);
            const next = field.choices.map(([one]) => one).filter((one) => (one === day) !== days.includes(one));
            return (
              <button key={day} type="button" aria-pressed={days.includes(day)} disabled={readOnly}
                onClick={() => onChange(next.length === field.choices.length ? undefined : next)}>{said}</button>
            );
          })}
        </span>
      );
    case "between": {
      const [from, to] = Array.isArray(value) ? value : ["", ""];
      const one = (which, word) => (
        <input type="text" inputmode="numeric" class="jc-short" aria-label={`${label}: ${word}`} value={String(which ? to : from)} placeholder={which ? "17:00" : "09:00"} disabled={readOnly}
          aria-invalid={invalid} aria-describedby={describedBy}
          onInput={(event) => { const pair = which ? [from, event.target.value] : [event.target.value, to]; onChange(pair.every((part) => part === "") ? undefined : pair); }} />
      );
      return <span class="jc-pair">{one(0, words.from)}<span aria-hidden="true">–</span>{one(1, words.to)}</span>;
    }
    case "integer":
    case "number":
      return <input {...attributes} type="text" inputmode="numeric" class="jc-short" value={text} placeholder={field.hint}
        onInput={(event) => write(/^-?\d+(\.\d+)?$/.test(event.target.value) ? Number(event.target.value) : event.target.value)} />;
    case "scalar":
      return <input {...attributes} type="text" value={text} placeholder={field.hint} onInput={(event) => write(scalar(event.target.value))} />;
    case "long":
      return <textarea {...attributes} rows={3} value={text} placeholder={field.hint} onInput={(event) => write(event.target.value)} />;
    case "duration":
    case "share":
    case "time":
    case "text":
      return <input {...attributes} type="text" class={field.kind === "text" ? undefined : "jc-short"} value={shown} placeholder={field.hint} onInput={(event) => write(event.target.value)} />;
    default:
      return <Suggesting value={shown} onChange={write} label={label} id={id} invalid={invalid} describedBy={describedBy} placeholder={field.hint} disabled={readOnly}
        suggest={plainSuggest(namesOf(field.kind, known, nodes, field.choices))} />;
  }
}

// One row of a list or mapping; the key of a mapping is written when the person leaves it, as it may hide another.
function Key({ value, onChange, names, label, taken, id }) {
  const { words, readOnly } = useContext(Form);
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const clash = text !== value && taken.includes(text);
  return (
    <span class="jc-key">
      <input id={id} type="text" value={text} aria-label={label} aria-invalid={clash} list={names ? `${id}-names` : undefined} disabled={readOnly} spellcheck={false}
        onInput={(event) => setText(event.target.value)} onBlur={() => (clash || text === "" ? setText(value) : text !== value && onChange(text))}
        onKeyDown={(event) => event.key === "Enter" && event.target.blur()} />
      {names && <datalist id={`${id}-names`}>{names.map((name) => <option key={name} value={name} />)}</datalist>}
      {clash && <small class="jc-fault">{words.taken}</small>}
    </span>
  );
}

function Rows({ field, value, onChange, path }) {
  const { words, known, nodes, readOnly } = useContext(Form);
  const base = useId();
  const isList = field.kind === "list";
  const rows = isList ? (Array.isArray(value) ? value : []).map((row, i) => [i, row]) : Object.entries(isMapping(value) ? value : {});
  const write = (next) => onChange((isList ? next.length : Object.keys(next).length) || !field.optional ? next : undefined);
  const without = (key) => (isList ? rows.filter(([i]) => i !== key).map(([, row]) => row) : Object.fromEntries(rows.filter(([name]) => name !== key)));
  const moved = (i, step) => { const list = rows.map(([, row]) => row); [list[i], list[i + step]] = [list[i + step], list[i]]; return list; };
  const names = field.key && namesOf(field.key, known, nodes).map(({ name }) => name);
  const added = () => {
    if (isList) return [...rows.map(([, row]) => row), field.added];
    let name = field.stem;
    for (let i = 2; rows.some(([key]) => key === name); i++) name = `${field.stem}_${i}`;
    return { ...Object.fromEntries(rows), [name]: field.added };
  };
  return (
    <div class="jc-rows" role="group" aria-label={field.label}>
      {rows.map(([key, row], i) => (
        <div class="jc-row" key={isList ? key : `${base}${i}`}>
          <div class="jc-cells">
            {!isList && <Key id={`${base}-${i}`} value={key} label={`${field.label} ${i + 1}: ${field.name}`} names={names} taken={rows.map(([name]) => name)} onChange={(to) => write(withKey(value, key, to))} />}
            {isList
              ? field.fields.map((one) => <Field key={one.path.join(".")} field={one} owner={row} path={[...path, key]} of={`${field.label} ${i + 1}`} onChange={(next) => write(rows.map(([j, other]) => (j === key ? next : other)))} />)
              : isMapping(row) || Array.isArray(row)
                ? <output class="jc-asis">{words.as_is}</output>
                : <Field bare field={{ ...field.value, path: [] }} owner={row} path={[...path, key]} of={`${field.label} ${key}`} onChange={(next) => write({ ...value, [key]: next ?? "" })} />}
          </div>
          {!readOnly && (
            <span class="jc-tools">
              {isList && <button type="button" aria-label={`${words.up}: ${field.label} ${i + 1}`} disabled={i === 0} onClick={() => write(moved(i, -1))}>↑</button>}
              {isList && <button type="button" aria-label={`${words.down}: ${field.label} ${i + 1}`} disabled={i === rows.length - 1} onClick={() => write(moved(i, 1))}>↓</button>}
              <button type="button" aria-label={`${words.remove}: ${field.label} ${isList ? i + 1 : key}`} onClick={() => write(without(key))}>×</button>
            </span>
          )}
        </div>
      ))}
      {!readOnly && <button type="button" class="jc-add" onClick={() => write(added())}>+ {field.more}</button>}
    </div>
  );
}

const fits = (form, value) => {
  if (form.when === "absent") return value === undefined;
  if (form.when === "text") return typeof value === "string";
  if (form.when === "list") return Array.isArray(value);
  return form.when.startsWith("has:") ? isMapping(value) && form.when.slice(4) in value : value === form.when;
};

function Either({ field, value, onChange, onPick, path, id }) {
  const { readOnly } = useContext(Form);
  const now = Math.max(0, field.forms.findIndex((form) => fits(form, value)));
  const form = field.forms[now];
  return (
    <div class="jc-either">
      <select id={id} aria-label={field.label} value={now} disabled={readOnly} onChange={(event) => onPick(field.forms[event.target.value])}>
        {field.forms.map((one, i) => <option key={one.label} value={i}>{one.label}</option>)}
      </select>
      {(form.fields ?? []).map((one) => <Field key={one.path.join(".") || one.kind} field={one} owner={value} path={path} onChange={onChange} />)}
    </div>
  );
}

// A field with its label and faults. `owner` is the part that it belongs to, `path` that part's place below the form's.
export function Field({ field, owner, path, onChange, of, bare }) {
  const { faults, readOnly } = useContext(Form);
  const id = useId();
  const value = at(owner, field.path);
  if (readOnly && value === undefined) return null;
  const place = [...path, ...field.path];
  if (field.shown && !fits(field.shown, at(owner, field.shown.path))) return null;
  const write = (next) => onChange(withValue(owner, field.path, next));
  const pick = ({ added, drops = [] }) => onChange(drops.reduce((rest, key) => withValue(rest, [key], undefined), withValue(owner, field.path, added ?? undefined)));
  const isGroup = ["list", "mapping", "either"].includes(field.kind);
  const found = faultsAt(faults, place, !isGroup && field.path.length > 0);
  const label = of ? `${of}: ${field.label ?? ""}` : field.label;
  const given = { field, value, onChange: write, path: place, label, id, invalid: found.length > 0, describedBy: found.length ? `${id}-why` : undefined };
  const inner = field.kind === "either" ? <Either {...given} onPick={pick} /> : isGroup ? <Rows {...given} /> : <Value {...given} />;
  return (
    <div class={`jc-field jc-of-${field.kind}`} data-path={place.join(".")}>
      {!bare && field.label && (isGroup && field.kind !== "either" ? <span class="jc-label">{field.label}</span> : <label for={id} class="jc-label">{field.label}</label>)}
      {inner}
      <Messages id={`${id}-why`} faults={found} />
    </div>
  );
}

// Like `withAt`, and a part that has lost its last key is gone.
function withValue(owner, path, next) {
  if (path.length === 0) return next;
  const [key, ...rest] = path;
  const inner = withValue(isMapping(owner) ? owner[key] : Array.isArray(owner) ? owner[key] : undefined, rest, next);
  if (Array.isArray(owner)) return owner.map((one, i) => (i === key ? inner : one));
  const result = { ...(isMapping(owner) ? owner : {}) };
  if (inner === undefined || (rest.length && isMapping(inner) && Object.keys(inner).length === 0)) delete result[key];
  else result[key] = inner;
  return result;
}
