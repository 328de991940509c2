// What an explorer answers: the finding, each picture with its table, notes, code, and ways to take them along.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { pngOf, save } from "./files.js";

// The drawing in the colours that it has on the page.
async function downloadPng(name, svg) {
  const paper = getComputedStyle(svg.closest(".je")).backgroundColor;
  save(`${name}.png`, await pngOf(svg, { paper, ink: getComputedStyle(svg).color }));
}

function Table({ picture }) {
  const side = (i) => (picture.numeric[i] ? "je-number" : undefined);
  return (
    <table>
      <thead><tr>{picture.head.map((name, i) => <th key={name} scope="col" class={side(i)}>{name}</th>)}</tr></thead>
      <tbody>{picture.rows.map((row, k) => <tr key={k}>{row.map((cell, i) => <td key={i} class={side(i)}>{cell}</td>)}</tr>)}</tbody>
    </table>
  );
}

function Picture({ picture, words }) {
  const [chosen, setTab] = useState("picture");
  const isDrawn = picture.svg !== "";
  const tab = isDrawn ? chosen : "table";
  const box = useRef(null);
  const id = useId();
  const tabs = ["picture", "table"];
  const onKeyDown = (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    const next = tab === "picture" ? "table" : "picture";
    setTab(next);
    event.currentTarget.querySelector(`[data-tab=${next}]`).focus();
  };
  return (
    <section class="je-picture" data-picture={picture.name} aria-label={picture.title}>
      <div class="je-bar">
        <h4>{picture.title}</h4>
        {isDrawn && <span role="tablist" aria-label={picture.title} onKeyDown={onKeyDown}>
          {tabs.map((one) => (
            <button key={one} type="button" role="tab" data-tab={one} id={`${id}-${one}`} aria-selected={tab === one} aria-controls={`${id}-panel`} tabIndex={tab === one ? 0 : -1} onClick={() => setTab(one)}>{words[one]}</button>
          ))}
        </span>}
        <span class="je-export" role="group" aria-label={`${words.export}: ${picture.title}`}>
          {isDrawn && <button type="button" data-do="png" disabled={tab !== "picture"} onClick={() => downloadPng(picture.name, box.current.querySelector("svg"))}>{words.save_picture}</button>}
          <button type="button" data-do="csv" onClick={() => save(`${picture.name}.csv`, picture.csv, "text/csv")}>{words.save_table}</button>
        </span>
      </div>
      <div ref={box} class="je-panel" role={isDrawn ? "tabpanel" : "region"} id={`${id}-panel`} aria-labelledby={isDrawn ? `${id}-${tab}` : undefined} aria-label={isDrawn ? undefined : words.table} tabIndex={0}>
        {tab === "picture" ? <div dangerouslySetInnerHTML={{ __html: picture.svg }} /> : <Table picture={picture} />}
      </div>
      {picture.notes.map((one) => <p key={one} class="je-note">{one}</p>)}
    </section>
  );
}

function Code({ code, words }) {
  const [copied, setCopied] = useState(false);
  const box = useRef(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
    } catch { // a page without the right to: select it, as a person would
      const range = document.createRange();
      range.selectNodeContents(box.current);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      document.execCommand("copy");
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <details class="je-code">
      <summary>{words.code}</summary>
      <button type="button" data-do="copy" onClick={copy}>{copied ? words.copied : words.copy}</button>
      <pre ref={box} tabIndex={0}>{code}</pre>
    </details>
  );
}

export function Answers({ model, view, words }) {
  const waiting = useRef(null);
  useEffect(() => {
    const came = () => {
      const { n, html } = model.get("page");
      if (n !== waiting.current) return;
      waiting.current = null;
      save("explorer.html", html, "text/html");
    };
    model.on("change:page", came);
    return () => model.off("change:page", came);
  }, [model]);
  const savePage = () => {
    waiting.current = `page-${Math.random().toString(36).slice(2)}`;
    model.set("asked", { n: waiting.current, page: true });
    model.save_changes();
  };
  return (
    <>
      <div class="je-bar">
        <p class="je-finding" aria-live="polite">{view.finding}</p>
        <button type="button" data-do="page" onClick={savePage}>{words.save_page}</button>
      </div>
      {view.pictures.map((one) => <Picture key={one.name} picture={one} words={words} />)}
      {view.notes.map((one) => <p key={one} class="je-note">{one}</p>)}
      {view.code && <Code code={view.code} words={words} />}
    </>
  );
}
