// One hook at a time, on a page of its own: what tests/stack/test_browsers.py opens.
import { createRoot } from "react-dom/client";

import { AnalyticsProvider, configure, startHeartbeat, useViewerCount, useViewerTracking } from "./headcount-react.js";

const { hook, origin, id, user } = globalThis.presence;

const components = {
  useViewerTracking() {
    useViewerTracking(id, user, "fingerprint");
    return null;
  },
  useViewerCount() {
    useViewerCount(id, { user: { userId: user } });
    return null;
  },
  AnalyticsProvider: () => <AnalyticsProvider />,
  startHeartbeat() {
    startHeartbeat(user);
    return null;
  },
};

configure({ origin, userId: user });
const Hook = components[hook];
createRoot(document.body.appendChild(document.createElement("main"))).render(<Hook />);
