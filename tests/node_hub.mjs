// Runs a hub for NodeHub: programs come in as JSON lines, answers and output go out as such.
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [site, mode] = process.argv.slice(2);
const { connect } = await import(pathToFileURL(`${site}/node.mjs`).href);
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const py = await connect({ size: 2, mode, onOutput: ({ text }) => say({ output: text }) });
say({});
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    say({ value: await py.exec(JSON.parse(line)) });
  } catch ({ name, message, pythonTraceback }) {
    say({ name, message, pythonTraceback });
  }
}
py.close();
