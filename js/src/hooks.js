// What every widget needs: a trait of the Python side as state, and whether the notebook is dark.
import { useEffect, useState } from "preact/hooks";

export function useTrait(model, name) {
  const [value, setValue] = useState(model.get(name));
  useEffect(() => {
    const changed = () => setValue(model.get(name));
    model.on(`change:${name}`, changed);
    return () => model.off(`change:${name}`, changed);
  }, [model, name]);
  return value;
}

// Dark where the notebook is dark, whatever the system prefers; the system's wish in a plain page.
export function useTheme(host) {
  const find = () => {
    const { body } = document;
    const jupyter = body.dataset.jpThemeLight;
    if (jupyter !== undefined) return jupyter === "false";
    if (/\b(vscode-|)(dark|high-contrast)\b/.test(`${body.className} ${document.documentElement.className}`)) return true;
    if (/\b(vscode-|)light\b/.test(`${body.className} ${document.documentElement.className}`) || host.closest("[data-canvas-theme=light]")) return false;
    return matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const [dark, setDark] = useState(find);
  useEffect(() => {
    const look = () => setDark(find());
    const watcher = new MutationObserver(look);
    for (const one of [document.body, document.documentElement]) watcher.observe(one, { attributes: true, attributeFilter: ["class", "data-jp-theme-light"] });
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", look);
    return () => { watcher.disconnect(); media.removeEventListener("change", look); };
  }, []);
  return dark;
}
