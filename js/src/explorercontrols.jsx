// The controls of an explorer. What there is to choose is said by Python; a value is one of what it offers, or a text.
import { useId } from "preact/hooks";
import { completions } from "./completion.js";
import { Messages, Suggesting } from "./suggesting.jsx";

const indexOf = (options, value) => Math.max(0, options.findIndex(([one]) => one === value));

function Slider({ control, value, id, given, write }) {
  const { options } = control;
  const now = indexOf(options, value);
  return (
    <span class="je-slider">
      <input {...given} id={id} type="range" min={0} max={options.length - 1} step={1} value={now} aria-valuetext={options[now]?.[1]}
        onInput={(event) => write(options[event.target.valueAsNumber][0])} />
      <output for={id}>{options[now]?.[1]}</output>
    </span>
  );
}

function Stepper({ control, value, words, write }) {
  const { n, label } = control;
  const said = n === null ? String(value + 1) : words.of.replace("{n}", n ? value + 1 : 0).replace("{of}", n);
  return (
    <span class="je-stepper" role="group" aria-label={label}>
      <button type="button" data-do="previous" disabled={value <= 0} onClick={() => write(value - 1)}>← {words.previous}</button>
      <output aria-live="polite">{said}</output>
      <button type="button" data-do="next" disabled={n !== null && value >= n - 1} onClick={() => write(value + 1)}>{words.next} →</button>
    </span>
  );
}

function Kept({ control, value, values, words, choose, write }) {
  const name = (values[control.title] ?? "").trim();
  const condition = (values[control.text] ?? "").trim();
  const others = value.filter((one) => one.name !== name);
  return (
    <div class="je-kept" role="group" aria-label={control.label}>
      {value.length === 0 && <p class="je-note">{words.kept_none}</p>}
      <ul>
        {value.map((one) => (
          <li key={one.name}>
            <strong>{one.name}</strong><code>{one.condition ?? words.weighted}</code>
            <span>
              {one.condition !== null && <button type="button" data-do="change" aria-label={`${words.change}: ${one.name}`} onClick={() => choose({ [control.title]: one.name, [control.text]: one.condition })}>{words.change}</button>}
              <button type="button" data-do="remove" aria-label={`${words.remove}: ${one.name}`} onClick={() => write(value.filter((other) => other !== one))}>×</button>
            </span>
          </li>
        ))}
      </ul>
      <button type="button" data-do="keep" disabled={!name || !condition} onClick={() => write([...others, { name, condition }])}>+ {words.keep} {name}</button>
    </div>
  );
}

function Input({ control, value, values, known, words, id, invalid, choose }) {
  const { kind, name, label } = control;
  const write = (next) => choose({ [name]: next });
  const given = { "aria-invalid": invalid, "aria-describedby": invalid ? `${id}-why` : control.hint ? `${id}-hint` : undefined };
  switch (kind) {
    case "slider":
      return <Slider {...{ control, value, id, given, write }} />;
    case "stepper":
      return <Stepper {...{ control, value, words, write }} />;
    case "again":
      return <button type="button" data-do="again" onClick={() => write(value + 1)}>↻ {label}</button>;
    case "kept":
      return <Kept {...{ control, value, values, words, choose, write }} />;
    case "toggle":
      return <input {...given} id={id} type="checkbox" checked={value} onChange={(event) => write(event.target.checked)} />;
    case "choice":
      return (
        <select {...given} id={id} value={indexOf(control.options, value)} onChange={(event) => write(control.options[event.target.value][0])}>
          {control.options.map(([one, said], i) => <option key={String(one)} value={i}>{said}</option>)}
        </select>
      );
    case "several":
      return (
        <span class="je-several" role="group" aria-label={label}>
          {control.options.map(([one, said]) => (
            <button key={String(one)} type="button" aria-pressed={value.includes(one)}
              onClick={() => write(control.options.map(([other]) => other).filter((other) => (other === one) !== value.includes(other)))}>{said}</button>
          ))}
        </span>
      );
    case "condition":
      return <Suggesting multiline value={value} onChange={(next) => choose({ [name]: next }, true)} label={label} id={id} invalid={invalid}
        describedBy={given["aria-describedby"]} suggest={(text, cursor) => completions(known, text, cursor, false)} />;
    default:
      return <input {...given} id={id} type="text" value={value} autocomplete="off" onInput={(event) => choose({ [name]: event.target.value }, true)} />;
  }
}

const OWN_NAME = ["several", "stepper", "kept"]; // groups, which name themselves

export function Controls({ controls, values, faults, known, words, choose }) {
  const base = useId();
  return controls.map((control) => {
    const id = `${base}-${control.name}`;
    const found = faults.filter((one) => one.control === control.name);
    const value = values[control.name];
    if (value === undefined) return null;
    return (
      <div key={control.name} class={`je-control je-of-${control.kind}`} data-control={control.name}>
        {control.kind === "again" ? null : OWN_NAME.includes(control.kind) ? <span class="je-label">{control.label}</span> : <label class="je-label" for={id}>{control.label}</label>}
        <Input {...{ control, value, values, known, words, id, choose }} invalid={found.length > 0} />
        <Messages id={`${id}-why`} faults={found} />
        {control.hint && <p class="je-note" id={`${id}-hint`}>{control.hint}</p>}
      </div>
    );
  });
}
