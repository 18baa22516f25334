// Calls from the tests in a page: `headcountTests.call(name, args)`.
import { call } from "./calls.mjs";

globalThis.headcountTests = { call };
