// Runs a CloudFront Function as CloudFront does: nothing but the language, and JSON in and out.
// In: {code, requests}, on standard input. Out: the requests that the function's handler returns.
import { readFileSync } from "node:fs";
import vm from "node:vm";

const { code, requests } = JSON.parse(readFileSync(0, "utf8"));
const context = vm.createContext({}, { codeGeneration: { strings: false, wasm: false } });
vm.runInContext(code, context, { filename: "EdgeSocketPath" });
const answers = requests.map((request) => {
  context.event = JSON.stringify({ version: "1.0", request });
  return JSON.parse(vm.runInContext("JSON.stringify(handler(JSON.parse(event)))", context));
});
process.stdout.write(JSON.stringify(answers));
