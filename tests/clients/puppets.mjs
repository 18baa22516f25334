// Browsers as people use them, for the tests: a line of JSON in, `[name, args]`, and a line of JSON out.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

let browser;
let number = 0;
const tabs = new Map();

function add(page) {
  tabs.set(++number, page);
  return number;
}

const commands = {
  /** Start a browser; `isForbidden`: its user blocks cookies, and with them all storage. */
  async launch({ kind, executablePath, args, profile, isForbidden }) {
    mkdirSync(join(profile, "Default"), { recursive: true });
    const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
    if (isForbidden) writeFileSync(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
    browser = await puppeteer.launch({
      browser: kind,
      executablePath,
      args,
      userDataDir: profile,
      // People's browsers keep pages for the Back button.
      ignoreDefaultArgs: ["--disable-back-forward-cache"],
      extraPrefsFirefox: isForbidden ? { "network.cookie.cookieBehavior": 2 } : {},
    });
  },
  async open({ url }) {
    const page = await browser.newPage({ type: "window" }); // a tab behind another one is hidden
    await page.goto(url);
    return add(page);
  },
  async evaluate({ tab, script }) {
    return (await tabs.get(tab).evaluate(script)) ?? null;
  },
  async reload({ tab }) {
    await tabs.get(tab).reload();
  },
  /** What a duplicated tab is: the same page, with a copy of the session storage. */
  async duplicate({ tab }) {
    const opened = new Promise((resolve) => tabs.get(tab).once("popup", resolve));
    await tabs.get(tab).evaluate("void window.open(location.href, '', 'popup')");
    return add(await opened);
  },
  async close({ tab }) {
    await tabs.get(tab).close({ runBeforeUnload: true });
  },
  /** The tab's page crashes, or (`isKilled`) its process is ended, as by a system that is out of memory. */
  async crashTab({ tab, isKilled }) {
    const session = await tabs.get(tab).createCDPSession();
    const ended = new Promise((resolve) => session.once("Inspector.targetCrashed", resolve));
    await session.send("Inspector.enable");
    // Neither is answered: there is nobody left to do so.
    session.send(isKilled ? "Page.navigate" : "Page.crash", isKilled ? { url: "chrome://kill" } : {}).catch(() => {});
    await ended;
  },
  /** The browser freezes the page, or (`isFrozen` false) lets it go on. */
  async freeze({ tab, isFrozen }) {
    const session = await tabs.get(tab).createCDPSession();
    await session.send("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" });
    await session.detach();
  },
  /** As when the computer loses power. */
  async crash() {
    browser.process().kill("SIGKILL");
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, args] = JSON.parse(line);
  const answer = await commands[name](args).then(
    (value) => ({ value: value ?? null }),
    (error) => ({ error: { kind: error.name, message: error.message, data: null } }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser?.close().catch(() => {}); // it may have crashed
process.exit(0);
