// Bundles the widgets into the Python package. The first line of each bundle says from which sources it was made.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const out = process.argv[2] ?? new URL("../src/journeylab/canvas/static", here).pathname;
const names = ["build.mjs", "package-lock.json", "package.json", ...readdirSync(new URL("src", here)).sort().map((name) => `src/${name}`)];
const hash = createHash("sha256");
for (const name of names) hash.update(name).update("\0").update(readFileSync(new URL(name, here))).update("\0");
const banner = `/* JourneyLab canvas; sources ${hash.digest("hex")}. With React Flow, dagre, Preact, D3, Zustand and classcat (MIT, ISC): see LICENSES.txt */`;

// What nothing here uses of what others bring: colours that change over time, and the looks of parts that are not shown.
const leaner = {
  name: "leaner",
  setup(bundler) {
    bundler.onResolve({ filter: /^d3-color$/ }, () => ({ path: "d3-color", namespace: "unused" }));
    bundler.onLoad({ filter: /.*/, namespace: "unused" }, () => ({ contents: "export const color = () => null; export { color as rgb, color as hsl, color as lab, color as hcl, color as cubehelix };" }));
    bundler.onLoad({ filter: /@xyflow.react.dist.base\.css$/ }, ({ path }) => ({
      loader: "css",
      contents: readFileSync(path, "utf8").replace(/[^{}]*(minimap|resize|controls|toolbar|\.dark)[^{}]*\{[^{}]*\}/g, "").replace(/\s--xy-(minimap|resize)[^;]*;/g, ""),
    }));
  },
};

const { outputFiles, metafile } = await build({
  entryPoints: { canvas: new URL("src/index.jsx", here).pathname },
  plugins: [leaner],
  bundle: true, minify: true, write: false, metafile: true, format: "esm", target: "es2022", outdir: out, legalComments: "none",
  jsx: "automatic", jsxImportSource: "preact", absWorkingDir: here.pathname,
  alias: { react: "preact/compat", "react-dom": "preact/compat", "react/jsx-runtime": "preact/jsx-runtime" },
  define: { "process.env.NODE_ENV": '"production"' },
});
for (const { path, text } of outputFiles) writeFileSync(path, `${banner}\n${text}`);

// What the licences ask for: their texts, once each.
const packages = [...new Set(Object.keys(metafile.inputs).map((name) => name.match(/node_modules\/((@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean))].sort();
const licences = packages.map((name) => {
  const folder = new URL(`node_modules/${name}/`, here);
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder)));
  return `${name} ${version} (${license})\n\n${file ? readFileSync(new URL(file, folder), "utf8").trim() : ""}`;
});
writeFileSync(`${out}/LICENSES.txt`, `${licences.join(`\n\n${"-".repeat(72)}\n\n`)}\n`);
for (const { path, text } of outputFiles) console.log(path.split("/").pop(), text.length + banner.length + 1);
