import { configure, follow } from "headcount-live";

configure({ endpoint: "https://YOUR-HTTP-URL" });

const here = follow("site:main", { names: true });
export const stop = here.subscribe(({ count, people }) => console.log(count, people.length));
