/**
 * The JavaScript half of `node_host.py`: answers one JSON line with one JSON line.
 */

import { createInterface } from "node:readline";

/**
 * Answers requests, one after the other, until the input ends. An error that nobody caught is the
 * answer to the next one.
 * @param {Record<string, (request: any) => unknown>} commands each gets the fields of its request
 */
export async function answer(commands) {
  /** @type {unknown[]} */
  const uncaught = [];
  process.on("uncaughtException", (error) => uncaught.push(error));
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let reply;
    try {
      const value = await commands[request.command](request);
      if (uncaught.length > 0) throw uncaught.pop();
      reply = { value };
    } catch (error) {
      reply = { error: { name: error.name, text: error.message } };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}
