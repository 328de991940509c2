// The states of a document, as text, with the way back and forth. Edits of one place shortly after another are one step.
const TOGETHER = 1200;

export function created(text) {
  return { past: [], text, future: [], place: "", when: 0 };
}

export function pushed(history, text, place, now) {
  if (text === history.text) return history;
  const same = place !== "" && place === history.place && now - history.when < TOGETHER;
  return { past: same ? history.past : [...history.past, history.text].slice(-200), text, future: [], place, when: now };
}

export function undone({ past, text, future }) {
  if (past.length === 0) return null;
  return { past: past.slice(0, -1), text: past[past.length - 1], future: [text, ...future], place: "", when: 0 };
}

export function redone({ past, text, future }) {
  if (future.length === 0) return null;
  return { past: [...past, text], text: future[0], future: future.slice(1), place: "", when: 0 };
}
