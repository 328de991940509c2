// The widget, as anywidget and a plain page load it.
import { render } from "preact";
import { Editor } from "./canvas.jsx";
import "./canvas.css";

export default {
  render({ model, el }) {
    const host = document.createElement("div");
    host.className = "jc-host";
    el.appendChild(host);
    render(<Editor model={model} host={host} />, host);
    return () => render(null, host);
  },
};
