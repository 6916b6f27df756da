// What a browser loads before it shows the first page, compressed: at most 500 KiB.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const most = 500 * 1024;
const dist = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../dist");
const seen = new Map();

/** A file and what it names as needed at once: the page's scripts and styles, and static imports of those. */
async function add(name) {
  if (seen.has(name)) return;
  const b = await readFile(path.join(dist, name));
  seen.set(name, gzipSync(b).length);
  if (!/\.(js|html)$/.test(name)) return;
  const text = b.toString();
  const found = name.endsWith(".html") ? text.matchAll(/(?:src|href)="\/([^"]+)"/g) : text.matchAll(/(?:\bfrom|\bimport)\s*"\.\/([^"]+)"/g);
  for (const m of found) await add(name.endsWith(".html") ? m[1] : path.posix.join(path.posix.dirname(name), m[1]));
}

await add("index.html");
const all = [...seen.values()].reduce((a, n) => a + n, 0);
console.log(`first load: ${(all / 1024).toFixed(0)} KiB compressed in ${seen.size} files, of at most ${most / 1024}`);
if (all > most) {
  for (const [name, n] of [...seen].sort((a, b) => b[1] - a[1]).slice(0, 10)) console.log(`  ${(n / 1024).toFixed(1)} KiB ${name}`);
  process.exit(1);
}
