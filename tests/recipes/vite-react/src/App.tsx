import { ViewerCount, configure, useHeadcount } from "headcount-live/react";
import { useState } from "react";

configure({ endpoint: "https://YOUR-HTTP-URL" });

function Chapter({ number }: { number: number }) {
  const { count, stale, error } = useHeadcount("course:intro", { facets: { chapter: number } });
  return <p title={error ?? (stale ? "Not up to date" : "")}>{count ?? "–"} here now</p>;
}

export function App() {
  const [number, setNumber] = useState(1);
  return (
    <main>
      <ViewerCount space="course:intro" label="{n} person is|{n} people are viewing this" />
      <Chapter number={number} />
      <button onClick={() => setNumber(number + 1)}>Next chapter</button>
    </main>
  );
}
