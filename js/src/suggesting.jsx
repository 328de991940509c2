// A text field that suggests, as journeys and explorers write conditions in, and what is at fault with a field.
import { useId, useRef, useState } from "preact/hooks";

export function Messages({ id, faults }) {
  return faults.length ? <div class="jc-fault" id={id} role="alert">{faults.map((one) => <p key={one.message}>{one.message}</p>)}</div> : null;
}

// A text that suggests what may be written, after the combobox pattern of the ARIA Authoring Practices.
export function Suggesting({ value, onChange, suggest, multiline, label, describedBy, invalid, placeholder, disabled, id }) {
  const [open, setOpen] = useState(null); // { from, options, active }
  const box = useRef(null);
  const list = useId();
  const close = () => setOpen(null);
  const look = (asked) => {
    const found = suggest(box.current.value, box.current.selectionStart);
    setOpen(found.options.length && (asked || found.begun !== false) ? { ...found, active: -1 } : null);
  };
  const choose = ({ insert }) => {
    const { value: text, selectionStart: cursor } = box.current;
    const next = text.slice(0, open.from) + insert + text.slice(cursor);
    onChange(next);
    close();
    requestAnimationFrame(() => {
      box.current?.focus();
      box.current?.setSelectionRange(open.from + insert.length, open.from + insert.length);
    });
  };
  const onKeyDown = (event) => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      close();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && open) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const n = open.options.length;
      setOpen({ ...open, active: (open.active + step + n + (open.active < 0 && step < 0 ? 1 : 0)) % n });
    } else if (event.key === "ArrowDown" || (event.key === " " && event.ctrlKey)) {
      event.preventDefault();
      look(true);
    } else if ((event.key === "Enter" || event.key === "Tab") && open && open.active >= 0) {
      event.preventDefault();
      choose(open.options[open.active]);
    } else if (event.key === "Enter" && multiline) {
      event.preventDefault(); // a condition is one line; a long one wraps
    }
  };
  const Tag = multiline ? "textarea" : "input";
  return (
    <div class="jc-suggesting">
      <Tag ref={box} id={id} type={multiline ? undefined : "text"} value={value} rows={multiline ? Math.min(6, 1 + Math.floor(value.length / 34)) : undefined} role="combobox"
        aria-label={label} aria-expanded={!!open} aria-controls={list} aria-autocomplete="list" aria-describedby={describedBy}
        aria-invalid={invalid} aria-activedescendant={open && open.active >= 0 ? `${list}-${open.active}` : undefined}
        spellcheck={false} autocomplete="off" placeholder={placeholder} disabled={disabled}
        onInput={(event) => { onChange(event.target.value.replace(/\n/g, " ")); look(false); }} onKeyDown={onKeyDown} onBlur={() => setTimeout(close, 120)} />
      {open && (
        <ul id={list} role="listbox" aria-label={label}>
          {open.options.map((one, i) => (
            <li key={one.text} id={`${list}-${i}`} role="option" aria-selected={i === open.active}
              ref={(item) => i === open.active && item?.scrollIntoView({ block: "nearest" })}
              onMouseDown={(event) => { event.preventDefault(); choose(one); }}>
              <span>{one.text}</span><small>{one.detail}</small>
            </li>
          ))}
        </ul>
      )}
      {!open && <span id={list} hidden />}
    </div>
  );
}
