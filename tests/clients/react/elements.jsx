// Quoted in docs/elements.md.
export function LinkCard({ link, token }) {
  return <headcount-live link={link} refresh-interval={5000} token={token} />;
}
