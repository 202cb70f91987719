/**
 * Files in an interpreter's own file system: which were written since a moment, and their way into
 * that of another.
 *
 * Owns the walk through Emscripten's file system. What is mounted there (a script's folders in Node,
 * devices) belongs to somebody else, and is left alone.
 */

import { asBulk } from "./assets.mjs";

/** @typedef {import("./assets.mjs").Bulk} Bulk */

/**
 * A file, folder or link.
 * @typedef {object} Entry
 * @property {string} path
 * @property {number} mode
 * @property {number} time of its last change, in milliseconds
 * @property {string} [target] of a link
 * @property {[number, number]} [place] of a file: where its content begins and ends
 */

/**
 * What has become of files; can be posted to a worker.
 * @typedef {object} Written
 * @property {Entry[]} entries folders before what is in them
 * @property {string[]} removed what is in a folder before it
 * @property {Bulk} contents of all files
 */

/**
 * How the files were at a moment.
 * @typedef {object} Listing
 * @property {number} time milliseconds
 * @property {Map<string, {id: number, size: number, time: number}>} found by path
 */

/**
 * @param {any} FS
 * @returns {string[]} where file systems are mounted, the root among them
 */
export const mountPoints = (FS) =>
  FS.getMounts(FS.root.mount).map((/** @type {any} */ { mountpoint }) => mountpoint);

/**
 * @param {any} FS
 * @param {string} [folder]
 * @param {Set<string>} [mounted]
 * @returns {Generator<{path: string, stat: any}>} a folder before what is in it
 */
function* below(FS, folder = "", mounted = new Set(mountPoints(FS))) {
  for (const name of FS.readdir(folder || "/")) {
    const path = `${folder}/${name}`;
    if (name === "." || name === ".." || mounted.has(path)) continue;
    const stat = FS.lstat(path);
    if (FS.isFile(stat.mode) || FS.isDir(stat.mode) || FS.isLink(stat.mode)) yield { path, stat };
    if (FS.isDir(stat.mode)) yield* below(FS, path, mounted);
  }
}

/**
 * @param {any} FS
 * @returns {Listing}
 */
export function listFiles(FS) {
  const found = new Map();
  for (const { path, stat } of below(FS)) {
    found.set(path, { id: stat.ino, size: stat.size, time: stat.mtime.getTime() });
  }
  return { time: Date.now(), found };
}

/**
 * Finds what was written, made or removed.
 * @param {any} FS
 * @param {Listing} before
 * @returns {Written}
 */
export function writtenSince(FS, { time, found }) {
  /** @type {Entry[]} */
  const entries = [];
  /** @type {Uint8Array[]} */
  const contents = [];
  const left = new Set(found.keys());
  let end = 0;
  for (const { path, stat } of below(FS)) {
    left.delete(path);
    const known = found.get(path);
    const changed = stat.mtime.getTime();
    // What changed in the moment of the listing may have done so after it.
    const same = known?.id === stat.ino && known?.size === stat.size && known?.time === changed;
    if (same && changed < time) continue;
    /** @type {Entry} */
    const entry = { path, mode: stat.mode & 0o7777, time: changed };
    if (FS.isLink(stat.mode)) entry.target = FS.readlink(path);
    else if (FS.isFile(stat.mode)) {
      const content = FS.readFile(path);
      contents.push(content);
      entry.place = [end, end + content.length];
      end += content.length;
    }
    entries.push(entry);
  }
  const joined = new Uint8Array(end);
  let place = 0;
  for (const content of contents) {
    joined.set(content, place);
    place += content.length;
  }
  return { entries, removed: [...left].reverse(), contents: asBulk(joined) };
}

/**
 * Does in another file system what was done in one.
 * @param {any} FS
 * @param {Written} written
 * @param {Uint8Array} contents its own, which may be shared: files get copies
 */
export function putBack(FS, { entries, removed }, contents) {
  for (const path of removed) remove(FS, path);
  for (const { path, mode, target, place } of entries) {
    if (target !== undefined) {
      remove(FS, path);
      FS.symlink(target, path);
      continue;
    }
    if (place) FS.writeFile(path, contents.slice(...place), { canOwn: true });
    else FS.mkdirTree(path);
    FS.chmod(path, mode);
  }
  // Last, as each file that is written changes its folder.
  for (const { path, target, time } of entries) {
    if (target === undefined) FS.utime(path, time, time);
  }
}

/**
 * @param {any} FS
 * @param {string} path that may be there
 */
function remove(FS, path) {
  const { exists, object } = FS.analyzePath(path, true);
  if (exists) FS[FS.isDir(object.mode) ? "rmdir" : "unlink"](path);
}
