// Bundles the widgets into the Python package. The first line of each bundle says from which sources it was made.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const given = process.argv[2];
const into = (folder) => new URL(`../src/journeylab/${folder}/static`, here).pathname;
const bundles = [
  { entry: "index.jsx", name: "canvas", out: given ?? into("canvas"), with: "React Flow, dagre, Preact, D3, Zustand and classcat (MIT, ISC)" },
  { entry: "explorer.jsx", name: "explorer", out: given ? `${given}/explorers` : into("explorers"), with: "Preact (MIT)" },
];

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

// What the licences ask for: their texts, once each.
function licences(inputs) {
  const packages = [...new Set(inputs.map((name) => name.match(/node_modules\/((@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean))].sort();
  return packages.map((name) => {
    const folder = new URL(`node_modules/${name}/`, here);
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder)));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(new URL(file, folder), "utf8").trim() : ""}`;
  }).join(`\n\n${"-".repeat(72)}\n\n`);
}

for (const one of bundles) {
  const { outputFiles, metafile } = await build({
    entryPoints: { [one.name]: new URL(`src/${one.entry}`, here).pathname },
    plugins: [leaner],
    bundle: true, minify: true, write: false, metafile: true, format: "esm", target: "es2022", outdir: one.out, legalComments: "none",
    jsx: "automatic", jsxImportSource: "preact", absWorkingDir: here.pathname,
    alias: { react: "preact/compat", "react-dom": "preact/compat", "react/jsx-runtime": "preact/jsx-runtime" },
    define: { "process.env.NODE_ENV": '"production"' },
  });
  const inputs = Object.keys(metafile.inputs);
  const hash = createHash("sha256");
  for (const name of ["build.mjs", "package-lock.json", "package.json", ...inputs.filter((input) => input.startsWith("src/")).sort()])
    hash.update(name).update("\0").update(readFileSync(new URL(name, here))).update("\0");
  const banner = `/* JourneyLab ${one.name}; sources ${hash.digest("hex")}. With ${one.with}: see LICENSES.txt */`;
  mkdirSync(one.out, { recursive: true });
  for (const { path, text } of outputFiles) {
    writeFileSync(path, `${banner}\n${text}`);
    console.log(path.split("/").pop(), text.length + banner.length + 1);
  }
  writeFileSync(`${one.out}/LICENSES.txt`, `${licences(inputs)}\n`);
}
