// The pages, rendered without a window.
import { renderToString } from "react-dom/server";

import * as pages from "./pages.tsx";

const { session, ...components } = pages;
const props = { linkId: "l", visitorSession: { sessionId: "s", fingerprint: "f" }, courseId: "c", streamId: "s", film: {} };
const rendered = Object.entries(components).map(([name, Page]) => [name, renderToString(<Page {...props} />)]);
console.log(JSON.stringify({ ...Object.fromEntries(rendered), session: session() }));
process.exit(0);
