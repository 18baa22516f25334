// Calls from the tests on a page: `headcountTests.call(name, args)`.
import { call } from "./calls.mjs";

globalThis.headcountTests = { call };
