// A picture of a screen as a PNG with a palette: a page has few colours, so it takes a third of what the browser writes.
import { deflateSync } from "node:zlib";

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name), data]);
  let crc = 0xffffffff;
  for (const b of body) crc = table[(crc ^ b) & 255] ^ (crc >>> 8);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0, body.length + 4);
  return out;
}

/** RGBA pixels as a PNG of at most 256 colours: the most frequent ones, and for any other the nearest of these. */
export function palette(width, height, rgba) {
  const count = new Map();
  for (let i = 0; i < rgba.length; i += 4) {
    const c = (rgba[i] << 16) | (rgba[i + 1] << 8) | rgba[i + 2];
    count.set(c, (count.get(c) ?? 0) + 1);
  }
  // Colours that are all but the same share one place, so that rare hues get one too.
  const colours = [];
  const near = (c, within) => {
    let best = -1;
    let least = within;
    for (let i = 0; i < colours.length; i++) {
      const d = Math.abs((c >> 16) - (colours[i] >> 16)) + Math.abs(((c >> 8) & 255) - ((colours[i] >> 8) & 255)) + Math.abs((c & 255) - (colours[i] & 255));
      if (d < least) [best, least] = [i, d];
    }
    return best;
  };
  const sorted = [...count].sort((a, b) => b[1] - a[1]).map(([c]) => c);
  for (const c of sorted) if (colours.length < 256 && near(c, 10) < 0) colours.push(c);
  const index = new Map(sorted.map((c) => [c, near(c, Infinity)]));
  const raw = Buffer.alloc(height * (width + 1)); // each line behind a 0: no filter
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i += 4) raw[y * (width + 1) + 1 + x] = index.get((rgba[i] << 16) | (rgba[i + 1] << 8) | rgba[i + 2]);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), chunk("IHDR", head), chunk("PLTE", Buffer.from(colours.flatMap((c) => [c >> 16, (c >> 8) & 255, c & 255]))), chunk("IDAT", deflateSync(raw, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}
