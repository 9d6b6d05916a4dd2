package deploy

import (
	"errors"
	"testing"
)

func TestATemplateIsReadAsCloudFormationReadsIt(t *testing.T) {
	cases := map[string]struct{ yaml, want string }{
		"!Ref":                            {"A: !Ref B", `{"A":{"Ref":"B"}}`},
		"!Condition":                      {"A: !Condition B", `{"A":{"Condition":"B"}}`},
		"!GetAtt splits at the first dot": {"A: !GetAtt B.Outputs.C", `{"A":{"Fn::GetAtt":["B","Outputs.C"]}}`},
		"!GetAtt of a list":               {"A: !GetAtt [B, C]", `{"A":{"Fn::GetAtt":["B","C"]}}`},
		"the long form stays":             {"A: {Fn::GetAtt: B.C}", `{"A":{"Fn::GetAtt":"B.C"}}`},
		"!Sub of a text":                  {`A: !Sub "${B}-c"`, `{"A":{"Fn::Sub":"${B}-c"}}`},
		"!Sub of a list":                  {"A: !Sub\n  - ${B}\n  - B: !Ref C\n", `{"A":{"Fn::Sub":["${B}",{"B":{"Ref":"C"}}]}}`},
		"!Sub of a folded text":           {"A: !Sub >-\n  one\n  two\n", `{"A":{"Fn::Sub":"one two"}}`},
		"!Sub of a literal text":          {"A: !Sub |\n  one\n    two\nB: 1\n", `{"A":{"Fn::Sub":"one\n  two\n"},"B":1}`},
		"functions in a flow sequence":    {"A: !If [B, !Ref C, !Ref \"AWS::NoValue\"]", `{"A":{"Fn::If":["B",{"Ref":"C"},{"Ref":"AWS::NoValue"}]}}`},
		"functions in a flow mapping":     {"A: {B: !GetAtt C.Arn, D: !Ref E}", `{"A":{"B":{"Fn::GetAtt":["C","Arn"]},"D":{"Ref":"E"}}}`},
		"functions in a block sequence":   {"A:\n  - !Ref B\n  - !Sub ${C}\n", `{"A":[{"Ref":"B"},{"Fn::Sub":"${C}"}]}`},
		"a function over a block mapping": {"A: !Transform\n  Name: AWS::Include\n  Parameters: {Location: x}\n", `{"A":{"Fn::Transform":{"Name":"AWS::Include","Parameters":{"Location":"x"}}}}`},
		"nested functions":                {"A: !Join [\"\", [!Select [0, !Split [\"-\", !Ref B]]]]", `{"A":{"Fn::Join":["",[{"Fn::Select":[0,{"Fn::Split":["-",{"Ref":"B"}]}]}]]}}`},
		"nested functions in blocks":      {"A: !And\n  - !Equals [!Ref B, c]\n  - !Not [!Condition D]\n", `{"A":{"Fn::And":[{"Fn::Equals":[{"Ref":"B"},"c"]},{"Fn::Not":[{"Condition":"D"}]}]}}`},
		"a date stays text":               {"Version: 2012-10-17", `{"Version":"2012-10-17"}`},
		"a version stays text":            {`A: "2010-09-09"`, `{"A":"2010-09-09"}`},
		"numbers keep their digits":       {"A: [1, -2, 3.50, 12345678901234567890]", `{"A":[1,-2,3.50,12345678901234567890]}`},
		"a leading zero stays text":       {"A: 012345678901", `{"A":"012345678901"}`},
		"quoted numbers stay text":        {`A: ["1", '2']`, `{"A":["1","2"]}`},
		"truth, falsehood, nothing":       {"A: [true, false, null, ~]\nB:\n", `{"A":[true,false,null,null],"B":null}`},
		"a status code is a key":          {"responses: {200: {a: b}}", `{"responses":{"200":{"a":"b"}}}`},
		"a route is a key":                {"/orders/{id}:\n  $default: x\n", `{"/orders/{id}":{"$default":"x"}}`},
		"order is kept":                   {"z: 1\na: 2\nm: 3\n", `{"z":1,"a":2,"m":3}`},
		"anchors":                         {"A: &x {b: !Ref C}\nD: *x\n", `{"A":{"b":{"Ref":"C"}},"D":{"b":{"Ref":"C"}}}`},
		"merged mappings":                 {"A: &x {b: 1, c: 2}\nD:\n  <<: *x\n  c: 3\n", `{"A":{"b":1,"c":2},"D":{"b":1,"c":3}}`},
		"markup is not escaped":           {`A: "<a> & b"`, `{"A":"<a> & b"}`},
		"comments are dropped":            {"# one\nA: 1 # two\n", `{"A":1}`},
		"a single entry in a sequence":    {"A:\n  - b: !Ref C\n", `{"A":[{"b":{"Ref":"C"}}]}`},
		"an explicit text":                {"A: !!str 1", `{"A":"1"}`},
		"JSON":                            {`{"A": {"Fn::GetAtt": ["B", "C"]}, "D": [1, true]}`, `{"A":{"Fn::GetAtt":["B","C"]},"D":[1,true]}`},
		"an empty mapping":                {"A: {}\nB: []\n", `{"A":{},"B":[]}`},
		"a colon in a plain text":         {"A: arn:aws:states:::lambda:invoke", `{"A":"arn:aws:states:::lambda:invoke"}`},
		"a schedule":                      {"A: cron(0 3 * * ? *)", `{"A":"cron(0 3 * * ? *)"}`},
		"a long form in a flow mapping":   {"A: {Fn::Sub: b, Type: AWS::SQS::Queue}", `{"A":{"Fn::Sub":"b","Type":"AWS::SQS::Queue"}}`},
		"merging the first of many wins":  {"A: &x {b: 1}\nC: &y {b: 2, d: 3}\nE: {<<: [*x, *y]}\n", `{"A":{"b":1},"C":{"b":2,"d":3},"E":{"b":1,"d":3}}`},
		"a function over an anchor":       {"A: &x !Ref B\nC: !Join [\"\", [*x]]\n", `{"A":{"Ref":"B"},"C":{"Fn::Join":["",[{"Ref":"B"}]]}}`},
		"an empty text":                   {`A: ""`, `{"A":""}`},
		"YAML 1.1 truth":                  {"A: [yes, no, on, off]", `{"A":[true,false,true,false]}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			doc, err := parse([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			got, err := encode(doc)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhatIsNoTemplateNamesItsLine(t *testing.T) {
	cases := map[string]struct {
		yaml string
		line int
	}{
		"an unknown function":          {"A: 1\nB: !Reff C\n", 2},
		"!GetAtt without an attribute": {"A: 1\nB: !GetAtt C\n", 2},
		"a list":                       {"- a\n", 1},
		"a key that is written twice":  {"A: 1\nB: 2\nA: 3\n", 3},
		"an anchor within itself":      {"A: &x\n  b: *x\n", 2},
		"two documents":                {"A: 1\n---\nB: 1\n", 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(c.yaml))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line != c.line {
				t.Errorf("got %v, want an error in line %d", err, c.line)
			}
		})
	}
}
