import type { ReactNode } from "react";

import { Here } from "./here";

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <Here />
        {children}
      </body>
    </html>
  );
}
