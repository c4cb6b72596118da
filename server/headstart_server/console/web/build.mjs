// Builds ../static from src. The output depends only on the sources and package-lock.json.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const out = process.argv[2] ?? "../static";
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await build({
  entryPoints: { app: "src/main.tsx", style: "src/style/main.css" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome123", "firefox120", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  external: ["*.woff2"],
  legalComments: "none",
  charset: "utf8",
});
copyFileSync("node_modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2", `${out}/inter.woff2`);
copyFileSync("src/icon.svg", `${out}/icon.svg`);

// The query changes with the content, so that browsers keep a file until it changes.
const versioned = (name) =>
  `/console/${name}?v=${createHash("sha256").update(readFileSync(`${out}/${name}`)).digest("hex").slice(0, 12)}`;
const page = readFileSync("src/index.html", "utf8").replace(/\{\{([\w.]+)\}\}/g, (_, name) => versioned(name));
writeFileSync(`${out}/index.html`, page);

const licenses = ["preact", "@fontsource-variable/inter"].map((name) => {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  return `${name} ${version}\n\n${readFileSync(`${folder}/LICENSE`, "utf8").trim()}\n`;
});
writeFileSync(`${out}/licenses.txt`, licenses.join("\n----\n\n"));
