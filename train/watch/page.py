"""How the report looks: one style sheet, light and dark, on paper too."""

STYLE = """
:root { --ink: #1b2430; --soft: #5b6675; --line: #d8dee6; --ground: #ffffff; --card: #f5f7fa; --good: #00734f;
  --bad: #b3400a; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #36404d; --ground: #14181e;
  --card: #1d232b; --good: #4cc79a; --bad: #ff9561; --accent: #62b5e5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.facts { color: var(--soft); margin: .2rem 0 1rem; } .facts b { color: var(--ink); }
.notice { border-left: 4px solid var(--bad); background: var(--card); padding: .6rem .9rem; font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .7rem; margin-top: 1.2rem; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; display: flex; flex-direction: column; }
.card span { color: var(--soft); font-size: .82rem; } .card strong { font-size: 1.25rem; overflow-wrap: anywhere; }
.good, .card.good strong { color: var(--good); } .bad, .card.bad strong { color: var(--bad); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child { min-width: 9rem; }
th { color: var(--soft); font-weight: 600; } code { font-size: .86rem; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(29rem, 100%), 1fr)); gap: .8rem; }
figure { margin: 0; } img { width: 100%; height: auto; background: #fff; border-radius: .4rem; }
summary { cursor: pointer; padding: .25rem 0; color: var(--accent); }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .82rem; }
@media print { details > * { display: block; } .card { border: 1px solid var(--line); } }
"""
