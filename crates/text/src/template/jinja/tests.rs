//! What the engine does, construct by construct, and what it refuses to do.

use serde_json::json;

use super::{BASE_BUDGET, Program};
use crate::template::{Now, TemplateError};

fn render(source: &str) -> Result<String, TemplateError> {
    let variables = json!({
        "user": {"name": "Ada", "tags": ["x", "y"], "none": null, "items": 3},
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "Ha"}],
        "text": "  Ünï code  ",
        "number": 7,
        "float": 2.5,
    });
    let serde_json::Value::Object(variables) = variables else { unreachable!() };
    Program::new(source)?.render(variables, Some(Now { unix_seconds: 0, utc_offset_seconds: 0 }), BASE_BUDGET)
}

fn check(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        match render(source) {
            Ok(text) => assert_eq!(&text, expected, "{source}"),
            Err(error) => panic!("{source}: {error}"),
        }
    }
}

#[test]
fn whitespace() {
    check(&[
        ("a\n", "a"),
        ("a\n\n", "a\n"),
        ("a\n  {% if true %}\n  b\n  {% endif %}\nc", "a\n  b\nc"),
        ("a\n  {%- if true -%}\n  b\n  {%- endif %}\nc", "abc"),
        ("a\n  {%+ if true +%}\n  b\n  {% endif %}\nc", "a\n  \n  b\nc"),
        ("  {{ 1 }}\n  {{- 2 -}}\n  {{ 3 }}", "  123"),
        ("  {# gone #}\n x", " x"),
        ("x {#- gone -#} y", "xy"),
        ("{% if true %}\n    {% set a = 1 %}\n{% endif %}\n|", "|"),
        ("x{% if true %}  y{% endif %}", "x  y"),
        ("{% raw %}{{ x }} {% y %}{% endraw %}|", "{{ x }} {% y %}|"),
        ("{%- generation -%} a {%- endgeneration -%} b", "ab"),
        ("a\r\n{% if true %}\r\nb{% endif %}", "a\nb"),
    ]);
}

#[test]
fn expressions() {
    check(&[
        ("{{ 1 + 2 * 3 ** 2 // 4 - -1 }}", "6"),
        ("{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** -1 }}", "3.5 3 -4 2 -2 0.5"),
        (
            "{{ 1.0 }} {{ 0.1 + 0.2 }} {{ 100000.0 * 100000.0 * 1000000.0 }} {{ 1 / 100000 }}",
            "1.0 0.30000000000000004 1e+16 1e-05",
        ),
        ("{{ 'a' ~ 1 ~ true ~ none }} {{ 'a' + none }}", "a1True a"),
        ("{{ 'ab' * 2 }}{{ [1, 2] * 2 }}{{ [1] + [2] }}{{ (1, 2) + (3,) }}", "abab[1, 2, 1, 2][1, 2](1, 2, 3)"),
        (
            "{{ 1 < 2 and 'a' < 'b' and not 2 <= 1 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }}",
            "True True True False",
        ),
        (
            "{{ 'x' in user.tags }} {{ 'z' not in user.tags }} {{ 'name' in user }} {{ 'da' in 'Ada' }} {{ 1 in missing }}",
            "True True True True False",
        ),
        ("{{ 'a' if number > 5 else 'b' }}{{ 'a' if false }}{{ 1 if false else 2 if true else 3 }}", "a2"),
        (
            "{{ user['name'] }}{{ user.tags[0] }}{{ user.tags[-1] }}{{ user.tags.1 }}{{ 'abc'[1] }}{{ user.none }}",
            "Adaxyyb",
        ),
        (
            "{{ [1, 2, 3][::-1] }} {{ [1, 2, 3][1:] }} {{ 'abcd'[1:-1] }} {{ 'abcd'[::2] }} {{ [1, 2, 3][-2:] }} {{ [1][5:] }}",
            "[3, 2, 1] [2, 3] bc ac [2, 3] []",
        ),
        ("{{ missing }}|{{ missing.deeper.still }}|{{ none }}|{{ missing or 'default' }}", "|||default"),
        (
            "{{ \"it's\" }} {{ ['it\\'s', 'q\"', 'n\\n\\u00e9\\x41'] }} {{ 'a' 'b' }}",
            "it's [\"it's\", 'q\"', 'n\\néA'] ab",
        ),
        (
            "{{ {'a': 1, 'b': {'c': [true, none]}} }} {{ {'a': 1}['a'] }} {{ {1: 'x'}[1] }} {{ (1,) }} {{ () }}",
            "{'a': 1, 'b': {'c': [True, None]}} 1 x (1,) ()",
        ),
        ("{{ -number|abs }} {{ not true }} {{ not not 1 }}", "7 False True"),
    ]);
}

#[test]
fn statements() {
    check(&[
        (
            "{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ m.content }}{{ loop.revindex0 }}{{ loop.nextitem.role }};{% endfor %}",
            "1TrueFalseHi2assistant;2FalseFalseHo1user;3FalseTrueHa0;",
        ),
        ("{% for k, v in user.items() %}{{ k }}={{ v }},{% endfor %}", "name=Ada,tags=['x', 'y'],none=,items=3,"),
        ("{% for k in user %}{{ k }},{% endfor %}{% for c in 'ab' %}{{ c }}.{% endfor %}", "name,tags,none,items,a.b."),
        ("{% for x in [1, 2, 3, 4] if x is odd %}{{ x }}/{{ loop.length }} {% else %}none{% endfor %}", "1/2 3/2 "),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}{% for x in missing %}x{% endfor %}", "none"),
        (
            "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
            "013",
        ),
        ("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{% endfor %}{{ x }}", "111"),
        ("{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "4"),
        (
            "{% set a, b = [1, 2] %}{{ a }}{{ b }}{% set c %}in{{ a }}{% endset %}{{ c }}{% set t = 1, 2 %}{{ t }}",
            "12in1(1, 2)",
        ),
        (
            "{% macro f(a, b='B', c=none) %}{{ a }}{{ b }}{{ c }}{{ number }}{% endmacro %}{{ f(1) }} {{ f('x', c=3) }}",
            "1B7 xB37",
        ),
        ("{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "321"),
        ("{% filter upper %}abc{{ number }}{% endfilter %}", "ABC7"),
        ("{% if false %}a{% elif number == 7 %}b{% else %}c{% endif %}", "b"),
        (
            "{% set ns = namespace(l=[]) %}{% set _ = ns.l.append(1) %}{% set _ = ns.l.append(2) %}{{ ns.l.pop(0) }}{{ ns.l }}",
            "1[2]",
        ),
        (
            "{{ strftime_now('%Y-%m-%d') }} {{ dict(a=1) }} {{ dict([('k', 2)]) }} {{ range(3)|list }} {{ range(5, 0, -2) }}",
            "1970-01-01 {'a': 1} {'k': 2} [0, 1, 2] [5, 3, 1]",
        ),
    ]);
}

#[test]
fn filters_and_tests() {
    check(&[
        (
            "{{ text|trim }}|{{ 'aB c'|upper }}|{{ 'aB c'|title }}|{{ 'aB'|capitalize }}|{{ 'aXa'|replace('a', 'b') }}",
            "Ünï code|AB C|Ab C|Ab|bXb",
        ),
        (
            "{{ missing|default('d') }}{{ none|default('d') }}{{ ''|default('e', true) }}{{ ''|d('e', boolean=true) }}",
            "dee",
        ),
        ("{{ 'héé'|length }}{{ user|length }}{{ user.tags|count }}{{ [1]|first }}{{ [1, 2]|last }}", "34212"),
        (
            "{{ [3, 1, 2]|sort }}{{ [3, 1, 2]|sort(reverse=true) }}{{ ['b', 'A']|sort }}{{ [1, 2, 1]|unique }}{{ [1, 2]|reverse|list }}",
            "[1, 2, 3][3, 2, 1]['A', 'b'][1, 2][2, 1]",
        ),
        (
            "{{ messages|map(attribute='role')|join(',') }} {{ ['a', 'b']|map('upper')|list }} {{ [1, 2]|join('-') }}",
            "user,assistant,user ['A', 'B'] 1-2",
        ),
        (
            "{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|map(attribute='content')|first }} {{ [0, 1, none]|select|list }} {{ [1, 2, 3]|reject('odd')|list }}",
            "2 Ho [1] [2]",
        ),
        (
            "{{ {'b': 1, 'a': 2}|dictsort }} {{ {'b': 1, 'a': 2}|items|list }} {{ [1, 5, 2]|max }}{{ [4, 2]|min }}{{ [1, 2]|sum }}",
            "[('a', 2), ('b', 1)] [('b', 1), ('a', 2)] 523",
        ),
        (
            "{{ '12'|int + 1 }}{{ 'x'|int(9) }}{{ 'ff'|int(base=16) }} {{ '1.5'|float }} {{ 2.55|round(1) }} {{ 7|string ~ 1 }}",
            "139255 1.5 2.5 71",
        ),
        ("{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent('> ', true) }}", "a\n  b\n\n  c|> a\n> b"),
        ("{{ '<a>&\"'|e }} {{ '<b>'|safe }}", "&lt;a&gt;&amp;&#34; <b>"),
        ("{{ user|tojson }}", "{\"name\": \"Ada\", \"tags\": [\"x\", \"y\"], \"none\": null, \"items\": 3}"),
        (
            "{{ {'é': ['\"\\n\\x01', 1.0, true]}|tojson }} {{ 'é😀'|tojson(ensure_ascii=true) }}",
            "{\"é\": [\"\\\"\\n\\u0001\", 1.0, true]} \"\\u00e9\\ud83d\\ude00\"",
        ),
        (
            "{{ {'b': [1, {}], 'a': []}|tojson(indent=2, sort_keys=true) }}",
            "{\n  \"a\": [],\n  \"b\": [\n    1,\n    {}\n  ]\n}",
        ),
        ("{{ [1, 2]|tojson(separators=(',', ':')) }}", "[1,2]"),
        (
            "{{ missing is defined }}{{ none is none }}{{ user is mapping }}{{ 'a' is string }}{{ [] is iterable }}{{ 1 is number }}{{ true is boolean }}",
            "FalseTrueTrueTrueTrueTrueTrue",
        ),
        (
            "{{ 4 is divisibleby 2 }}{{ 3 is odd }}{{ 1 is not none }}{{ 'a' is in ['a'] }}{{ 2 is gt(1) }}{{ 'x' is eq 'x' and true }}",
            "TrueTrueTrueTrueTrueTrue",
        ),
    ]);
}

#[test]
fn methods() {
    check(&[
        ("{{ text.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xa'.lstrip('x') }}|{{ 'ax'.rstrip('x') }}", "Ünï code|a|a|a"),
        (
            "{{ 'a,b,c'.split(',') }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a  b c '.split() }}{{ ' a b  c '.split(none, 1) }}",
            "['a', 'b', 'c']['a', 'b,c']['a,b', 'c']['a', 'b', 'c']['a', 'b  c ']",
        ),
        (
            "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'aéa'.find('a', ) }}{{ 'aéb'.find('b') }}{{ 'abab'.count('ab') }}{{ 'a'.find('z') }}",
            "TrueTrue022-1",
        ),
        (
            "{{ 'a-b'.replace('-', '+') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ ', '.join(['a', 'b']) }}{{ 'ab'.upper() }}{{ 'a b'.title() }}",
            "a+bbbaa, bABA B",
        ),
        ("{{ '{} {}'.format(1, 'x') }} {{ '{1}{0}'.format(1, 2) }} {{ '{a}{{}}'.format(a=1) }}", "1 x 21 1{}"),
        (
            "{{ user.get('name') }}{{ user.get('no') }}{{ user.get('no', 'd') }}{{ user.keys()|list }}{{ user['items'] }}{{ {'a': 1}.values()|list }}",
            "Adad['name', 'tags', 'none', 'items']3[1]",
        ),
        (
            "{{ '12'.isdigit() }}{{ 'a\nb'.splitlines() }}{{ 'prefix-x'.removeprefix('prefix-') }}{{ [1, 2, 1].count(1) }}",
            "True['a', 'b']x2",
        ),
    ]);
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("{{ x.y( }}", "line 1: unexpected `}}`"),
        ("\n\n{% if x %}", "line 3: endif is missing"),
        ("a\n{% include 'x' %}", "line 2: the tag `include` is not known here"),
        ("{{ 'abc }}", "line 1: a string is not closed"),
        ("{# never closed", "line 1: a comment is not closed"),
        ("{{ 1 ? 2 }}", "line 1: unexpected character '?'"),
        ("\n{{ f(1) }}", "line 2: `f` is not defined"),
        ("{{ 1 + [] }}", "`+` cannot be done with a integer and a list"),
        ("{{ 'a'|frobnicate }}", "there is no filter `frobnicate`"),
        ("{{ 'a' is odd }}", "the test `odd` needs integers"),
        ("{{ 'a'.frobnicate() }}", "a string has no method `frobnicate`"),
        ("{{ 'a'|upper(1) }}", "at most 0 arguments, not 1"),
        ("{% macro f(a) %}{% endmacro %}{{ f(b=1) }}", "`f` has no parameter `b`"),
        ("{% set user.name = 1 %}", "only a namespace can be assigned to"),
        ("{{ {[1]: 2} }}", "a list cannot be a key"),
        ("{{ raise_exception('No ' ~ number) }}", "the chat template refuses this conversation: No 7"),
    ];
    for (source, expected) in cases {
        match render(source) {
            Err(error) => assert!(error.to_string().contains(expected), "{source}: {error}"),
            Ok(text) => panic!("{source} gave {text:?}"),
        }
    }
}

/// Every one of these would hang, fill the memory or overflow the stack of an engine that only counts its steps.
#[test]
fn nothing_hangs_or_fills_the_memory() {
    let grow = |step: &str, last: &str| {
        format!("{{% set a = namespace(x=['a'], y=['a']) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{last}")
    };
    let twice = "{% set a.x = [a.x, a.x] %}{% set a.y = [a.y, a.y] %}";
    let long = "{% set s = 'x' * 1000000 %}";
    let forever = |step: &str| format!("{long}{{% for i in range(100000) %}}{step}{{% endfor %}}");
    let sources = [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}".into(),
        "{{ range(10 ** 12) }}".into(),
        "{{ 'x' * 10 ** 9 }}".into(),
        "{{ [1] * 10 ** 9 }}".into(),
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}".into(),
        "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}".into(),
        "{% set x = [x] %}".repeat(5000),
        grow("{% set a.x = a.x ~ a.x %}", ""),
        grow("{% set a.x = a.x + a.x %}", ""),
        grow(twice, "{{ a.x == a.y }}"),
        grow(twice, "{{ a.x in [a.y] }}"),
        grow(twice, "{{ a.x }}"),
        grow(twice, "{{ a.x|string|length }}"),
        grow(twice, "{{ a.x ~ '' }}"),
        grow(twice, "{{ a.x|tojson(indent=16) }}"),
        grow(twice, "{{ a.x|join(',') }}"),
        grow(twice, "{{ '{}'.format(a.x) }}"),
        grow(twice, "{{ [a.x, a.y]|unique }}"),
        forever("{{ s.count('y') }}"),
        forever("{{ s[::-1]|length }}"),
        forever("{{ s|upper|length }}"),
        forever("{% set t = s.split('y') %}"),
        forever("{{ s }}"),
        format!("{long}{{{{ s.replace('x', s) }}}}"),
        format!("{long}{{{{ s|join(s) }}}}"),
        "{{ ('a\n' * 1000000)|indent(256) }}".into(),
        format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500)),
        format!("{{{{ {}1 }}}}", "-".repeat(1500)),
        format!("{{{{ {}1 }}}}", "not ".repeat(1500)),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(900)),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(900)),
        "{% if 1 %}".repeat(10_000),
        " ".repeat(2 << 20),
    ];
    for source in sources {
        let start: String = source.chars().take(120).collect();
        match render(&source) {
            Err(TemplateError::Limit(_)) => {}
            Err(other) => panic!("{start}: {other}"),
            Ok(text) => panic!("{start}: {} bytes", text.len()),
        }
    }
}

#[test]
fn a_namespace_cannot_hold_itself() {
    for source in [
        "{% set n = namespace() %}{% set n.x = n %}",
        "{% set n = namespace() %}{{ [n] }}",
        "{% set n = namespace() %}{{ namespace(x=n) }}",
    ] {
        assert!(render(source).unwrap_err().to_string().contains("a namespace cannot be put into"), "{source}");
    }
}
