// The widget of an explorer: controls at the left, what they lead to at the right. Python counts and draws; this asks.
import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Answers } from "./exploreranswers.jsx";
import { Controls } from "./explorercontrols.jsx";
import { useTheme, useTrait } from "./hooks.js";
import { Messages } from "./suggesting.jsx";
import "./explorer.css";

const PATIENCE = 20_000; // milliseconds
const TYPING = 250;

// The values that the controls show, and the way to ask what they lead to: one question at a time, then the latest.
function useQuestions(model) {
  const [values, setValues] = useState(model.get("values"));
  const [language, setLanguage] = useState(model.get("language"));
  const [faults, setFaults] = useState([]);
  const [busy, setBusy] = useState(false);
  const [lost, setLost] = useState(false);
  const now = useRef({ values, language, client: Math.random().toString(36).slice(2), n: 0, sent: null, again: false, patience: 0, typing: 0 });
  const ask = () => {
    const state = now.current;
    if (state.sent) { state.again = true; return; }
    state.again = false;
    state.sent = `${state.client}-${++state.n}`;
    setBusy(true);
    state.patience = setTimeout(() => { state.sent = null; setBusy(false); setLost(true); }, PATIENCE);
    model.set("asked", { n: state.sent, values: state.values, language: state.language });
    model.save_changes();
  };
  useEffect(() => {
    const answered = () => {
      const state = now.current;
      const { n, values: chosen, faults: found } = model.get("answer");
      setLost(false);
      if (n !== null && n === state.sent) {
        clearTimeout(state.patience);
        state.sent = null;
        setBusy(false);
        if (state.again) return ask();
        setFaults(found);
        if (!found.length && !state.typing) { state.values = chosen; setValues(chosen); }
      } else if (!n?.startsWith(state.client)) { // somebody else chose: Python, or another view of the same explorer
        if (found.length) return;
        Object.assign(state, { values: chosen, language: model.get("language") });
        setValues(chosen);
        setLanguage(state.language);
        setFaults([]);
      }
    };
    model.on("change:answer", answered);
    return () => { model.off("change:answer", answered); clearTimeout(now.current.patience); clearTimeout(now.current.typing); };
  }, [model]);
  const choose = (changes, isTyped) => {
    const state = now.current;
    state.values = { ...state.values, ...changes };
    setValues(state.values);
    clearTimeout(state.typing);
    state.typing = 0;
    if (isTyped) state.typing = setTimeout(() => { state.typing = 0; ask(); }, TYPING);
    else ask();
  };
  const speak = (next) => { now.current.language = next; setLanguage(next); ask(); };
  return { values, language, faults, busy, lost, choose, speak };
}

// JupyterLab's shortcuts, such as arrows that fold headings, are not for what has the focus here; it looks there for this.
const ownKeys = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");

function Explorer({ model, host }) {
  const words = useTrait(model, "words");
  const controls = useTrait(model, "shown_controls");
  const known = useTrait(model, "vocabulary");
  const view = useTrait(model, "view");
  const dark = useTheme(host);
  const { values, language, faults, busy, lost, choose, speak } = useQuestions(model);
  const names = useMemo(() => controls.map((one) => one.name), [controls]);
  const general = faults.filter((one) => !names.includes(one.control));
  return (
    <section class="je" data-theme={dark ? "dark" : "light"} aria-label={words.title} lang={language} onFocusIn={ownKeys}>
      <header class="je-head">
        <h3>{words.title}</h3>
        <span class="je-languages" role="group" aria-label={words.language}>
          {words.languages.map(([code, name]) => (
            <button key={code} type="button" lang={code} aria-pressed={code === language} onClick={() => speak(code)}>{name}</button>
          ))}
        </span>
      </header>
      <div class="je-main">
        <form class="je-controls" aria-label={words.controls} onSubmit={(event) => event.preventDefault()}>
          <Controls controls={controls} values={values} faults={faults} known={known} words={words} choose={choose} />
        </form>
        <div class="je-answers" role="region" aria-label={words.answers} aria-busy={busy} data-stale={faults.length > 0 || lost}>
          <Messages faults={[...general, ...(lost ? [{ message: words.no_answer }] : [])]} />
          {(faults.length > 0 || lost) && <p class="je-note">{words.last_good}</p>}
          <Answers model={model} view={view} words={words} />
        </div>
      </div>
    </section>
  );
}

export default {
  render({ model, el }) {
    const host = document.createElement("div");
    host.className = "je-host";
    el.appendChild(host);
    render(<Explorer model={model} host={host} />, host);
    return () => render(null, host);
  },
};
