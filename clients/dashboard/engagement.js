/** What viewers do, from a headcount: one definition for the tile and for the stream's tab. */

const ACTIONS = ['chat', 'reaction', 'share'];

/** Chats, reactions and shares per view; NaN if there are none, or no views. */
export function actionsPerView({ engagement = {}, views } = {}) {
  const counts = ACTIONS.map((name) => engagement[name]).filter(Number.isFinite);
  return counts.length && views?.total ? counts.reduce((a, b) => a + b) / views.total : NaN;
}
