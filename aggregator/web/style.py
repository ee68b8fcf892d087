"""The page's style sheet: dark and light, phone and projector. Contrast of text is at least 7:1 in both."""

CSS = """
:root { --ink: #111; --soft: #444; --faint: #8a8a8a; --paper: #f4f4f2; --card: #fff; --edge: #c9c9c4; --act: #005a8c;
  --live: #00694d; --trouble: #a63c00; --paused: #444; --quiet: #444 }
.body--dark { --ink: #f5f5f5; --soft: #c8c8c8; --faint: #7d7d7d; --paper: #121314; --card: #1d1f21; --edge: #3c4043;
  --act: #8ecbf2; --live: #4fd6ab; --trouble: #ff9d66; --paused: #c8c8c8; --quiet: #c8c8c8 }
body { background: var(--paper) !important; color: var(--ink);
  font: 18px/1.35 system-ui, sans-serif }
.nicegui-content { padding: 0; gap: 0; width: 100% }
.top { display: flex; align-items: center; gap: .6rem; width: 100%; padding: .6rem 1.2rem; flex-wrap: wrap }
.top .grow { flex: 1 }
.top h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 700; margin: 0 }
.top a, a.plain { color: var(--act); text-underline-offset: .2em }
.rooms { display: grid; gap: 1rem; padding: 0 1.2rem 1.2rem; width: 100%;
  grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)) }
.panel { background: var(--card); border: 1px solid var(--edge); border-radius: .9rem; padding: 1rem 1.2rem;
  display: flex; flex-direction: column; gap: .4rem; min-width: 0; color: var(--ink) }
.panel h2 { font-size: 1.1rem; line-height: 1.3; font-weight: 600; margin: 0; color: var(--soft) }
.contents { display: contents }
a.panel { text-decoration: none }
a.panel:hover { border-color: var(--act) }
a.panel .name { font-size: 1.6rem; font-weight: 700; overflow-wrap: anywhere }
a.panel .mix { font-size: 1.5rem; font-weight: 600 }
.standing { font-weight: 600; overflow-wrap: anywhere }
.standing.top { font-size: 1.5rem; padding-top: 0 }
.live { color: var(--live) } .trouble { color: var(--trouble) }
.paused { color: var(--paused) } .quiet { color: var(--quiet) }
.room { display: grid; gap: 1rem; padding: 0 1.2rem 1.2rem; width: 100%; grid-template-columns: 1.6fr 1fr;
  grid-template-rows: auto auto 1fr auto;
  grid-template-areas: "mix facts" "mix cameras" "mix events" "timeline timeline" }
.mix-panel { grid-area: mix } .facts-panel { grid-area: facts } .cameras-panel { grid-area: cameras }
.timeline-panel { grid-area: timeline } .events-panel { grid-area: events }
.mix-chart { width: 100%; height: max(25rem, 56vh) }
.timeline-chart { width: 100%; height: 18rem }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.6rem, 1fr)); gap: .5rem 1rem;
  align-items: end }
.fact { display: flex; flex-direction: column-reverse; white-space: nowrap }
.links { display: flex; flex-direction: column; gap: .3rem }
.fact .figure { font-size: 2rem; font-weight: 700; line-height: 1.1 }
.fact.big .figure { font-size: 4.5rem }
.caption, .hint { color: var(--soft); font-size: 1rem }
.camera { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem .8rem; width: 100% }
.camera .who { flex: 1 1 9rem; min-width: 0; overflow-wrap: anywhere }
.act { --q-primary: var(--act); min-height: 2.9rem; font-size: 1.05rem !important; border-radius: .6rem !important }
.event { font-size: 1.15rem; border-left: .35rem solid #e69f00; padding-left: .7rem; overflow-wrap: anywhere }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem }
.legend span::before { content: ""; display: inline-block; width: .9em; height: .9em; margin-right: .35em;
  border-radius: .2em; background: var(--swatch); vertical-align: -.08em }
svg text { fill: var(--ink) }
svg [stroke="#123456"] { stroke: var(--ink) } svg [fill="#123456"] { fill: var(--ink) }
svg [stroke="#654321"] { stroke: var(--faint) }
:focus-visible { outline: 3px solid #e69f00 !important; outline-offset: 2px }
@media (max-width: 60rem) {
  .room { grid-template-columns: minmax(0, 1fr); grid-template-rows: none;
    grid-template-areas: "facts" "mix" "cameras" "timeline" "events" }
  .mix-chart { height: 23rem } .timeline-chart { height: 17rem }
  .top, .room, .rooms { padding-left: .7rem; padding-right: .7rem }
  .top h1 { font-size: 1.5rem }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important } }
"""
