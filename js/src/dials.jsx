// Sliders over the numbers of a definition, and what came of it beside what was before.
import { useId } from "preact/hooks";
import { at, withAt } from "./definition.js";

const NUMBER = /\d+(?:\.\d+)?/g;

const numberAt = (value, nth) => (nth === null ? value : Number(String(value).match(NUMBER)?.[nth]));

function withNumber(value, { nth, digits }, number) {
  if (nth === null) return number;
  let i = 0;
  return value.replace(NUMBER, (old) => (i++ === nth ? String(number).padStart(digits, "0") : old));
}

function Dial({ dial, definition, onWrite }) {
  const id = useId();
  const { path, nth, low, high, step, unit, label } = dial;
  const text = at(definition, path);
  const value = numberAt(text, nth);
  if (text === undefined || !Number.isFinite(value)) return null;
  const said = `${value}${unit}`;
  return (
    <div class="jc-dial" data-dial={path.join(".")}>
      <label for={id}>{label}</label>
      <output for={id}>{said}</output>
      <input id={id} type="range" min={low} max={high} step={step} value={value} aria-valuetext={said}
        onInput={(event) => onWrite(withAt(definition, path, withNumber(text, dial, +(+event.target.value).toFixed(6))), `dial/${path.join(".")}/${nth}`)} />
    </div>
  );
}

export function Dials({ dials, definition, onWrite, words }) {
  const groups = [...new Set(dials.map((one) => one.group))];
  if (dials.length === 0) return null;
  return (
    <section class="jc-dials" aria-label={words.dials}>
      <h3>{words.dials}</h3>
      {groups.map((group) => (
        <fieldset key={group}>
          <legend>{group || words.journey}</legend>
          {dials.filter((one) => one.group === group).map((dial) => <Dial key={`${dial.path.join(".")}/${dial.nth}`} {...{ dial, definition, onWrite }} />)}
        </fieldset>
      ))}
    </section>
  );
}

// A share with its interval on a line from 0 to the largest bound of its row.
function Interval({ share, low, high, most, kind, y }) {
  const x = (value) => 4 + 152 * (value / most);
  return (
    <g class={`jc-interval jc-${kind}`} transform={`translate(0 ${y})`}>
      <path d={`M${x(low)} 0H${x(high)}`} />
      <circle cx={x(share)} r="3" />
    </g>
  );
}

export function Outcome({ outcome, words }) {
  const { rows = [], sentence, note } = outcome;
  if (!rows.length) return null;
  const kinds = ["now", "was", "forecast"].filter((kind) => rows.some((row) => row[kind]));
  return (
    <div class="jc-outcome">
      <p aria-live="polite">{sentence}</p>
      <table>
        <thead><tr><th>{words.outcome}</th>{kinds.map((kind) => <th key={kind}>{words[kind]}</th>)}<th><span class="jc-spoken">{words.interval}</span></th></tr></thead>
        <tbody>
          {rows.map((row) => {
            const drawn = kinds.filter((kind) => row[kind]?.share !== undefined);
            const most = Math.max(1e-9, ...drawn.map((kind) => row[kind].high));
            return (
              <tr key={row.label}>
                <th scope="row">{row.label}</th>
                {kinds.map((kind) => <td key={kind}>{row[kind]?.text}</td>)}
                <td>{drawn.length > 0 && (
                  <svg width="160" height={10 * drawn.length + 2} viewBox={`0 0 160 ${10 * drawn.length + 2}`} aria-hidden="true">
                    {drawn.map((kind, i) => <Interval key={kind} {...row[kind]} most={most} kind={kind} y={6 + 10 * i} />)}
                  </svg>
                )}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {note && <p class="jc-hint">{note}</p>}
    </div>
  );
}
