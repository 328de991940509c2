// The widget of an explorer, as anywidget loads it.
import { render } from "preact";
import { useTheme, useTrait } from "./hooks.js";
import "./explorer.css";

function Explorer({ model, host }) {
  const words = useTrait(model, "words");
  const dark = useTheme(host);
  return <div class="je" data-theme={dark ? "dark" : "light"}>{words.title}</div>;
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
