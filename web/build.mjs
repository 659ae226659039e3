// Puts the static site together in dist/, or in the folder given: the page, two builds of onnxruntime-web, and the table
// of the noise. A folder that is there already is replaced.
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(fileURLToPath(import.meta.url));
const runtime = join(web, "node_modules", "onnxruntime-web", "dist");
// A browser loads one of the two: WebAssembly alone, or WebAssembly and WebGPU.
const VENDOR = [
  ...["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
  ...["ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi.mjs", "ort-wasm-simd-threaded.jspi.wasm"],
];
const site = resolve(process.argv[2] ?? join(web, "dist"));
const made = `${site}.new`;

if (!existsSync(runtime)) {
  console.error("web/node_modules holds no onnxruntime-web; run `make web`, or `npm ci --ignore-scripts` in web/");
  process.exit(1);
}
rmSync(made, { recursive: true, force: true });
mkdirSync(join(made, "vendor"), { recursive: true });
cpSync(join(web, "src"), made, { recursive: true });
for (const file of VENDOR) cpSync(join(runtime, file), join(made, "vendor", file));
cpSync(join(web, "..", "runtime", "normal_table_v1.f32"), join(made, "normal_table_v1.f32"));
rmSync(site, { recursive: true, force: true });
renameSync(made, site);
console.log(`${site}: the site; serve it with any static file server, a bundle beside it as bundle/`);
