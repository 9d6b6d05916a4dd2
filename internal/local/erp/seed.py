"""Builds the database of the local ERP, in steps that erp.go runs in turn.

    seed.py base     CONF DATABASE JSON   company, accounts, years, services
    seed.py products CONF DATABASE JSON   goods with their opening stock

JSON is a file with the seed as erp.go writes it.
"""
import datetime as dt
import json
import sys
from decimal import Decimal

from proteus import Model, config


def base(cfg, seed):
    from trytond.modules.account.tests.tools import (
        create_chart, create_fiscalyear, get_accounts)
    from trytond.modules.account_invoice.tests.tools import (
        create_payment_term, set_fiscalyear_invoice_sequences)
    from trytond.modules.company.tests.tools import (
        create_company, get_company)

    # The first login would otherwise walk through the modules' wizards.
    for item in Model.get('ir.module.config_wizard.item').find(
            [('state', '!=', 'done')]):
        item.state = 'done'
        item.save()

    countries(seed['countries'])
    Currency = Model.get('currency.currency')
    rate = Model.get('currency.currency.rate')
    digits = seed['currency_digits']
    currency = Currency(
        name=seed['currency'], code=seed['currency'], digits=digits,
        rounding=Decimal(1).scaleb(-digits))
    currency.save()
    rate(date=dt.date(2000, 1, 1), rate=Decimal(1), currency=currency).save()

    Party = Model.get('party.party')
    party = Party(name=seed['company'])
    party.save()
    create_company(party=party, currency=currency)
    company = get_company()
    # Every later record is made with the company in the context.
    cfg._context = Model.get('res.user').get_preferences(True, {})

    create_chart(company)
    accounts = get_accounts(company)
    for year in range(seed['year'] - 1, seed['year'] + 2):
        first, last = dt.date(year, 1, 1), dt.date(year, 12, 31)
        fiscal = set_fiscalyear_invoice_sequences(
            create_fiscalyear(company, (first, last)))
        # create_fiscalyear widens the year, and years must not overlap.
        fiscal.name = str(year)
        fiscal.start_date, fiscal.end_date = first, last
        fiscal.click('create_period')

    # An invoice line must go to an account of the income statement, so what
    # is owed to the state cannot be one. The tax product carries this tax
    # instead: 100 % of the exact amount, posted to the liability account.
    Account = Model.get('account.account')
    # Only the chart of series 7.0 knows what is owed by name.
    payable, = Account.find([
            ['OR', ('code', '=', '2.2.3'), ('name', '=', 'Main Tax')],
            ('company', '=', company.id)])
    tax = Model.get('account.tax')(
        name='Sales tax collected by the channel',
        description='Sales tax collected by the channel',
        type='percentage', rate=Decimal(1),
        invoice_account=payable, credit_note_account=payable)
    tax.save()

    Category = Model.get('product.category')
    goods = Category(name='Sales', accounting=True,
        account_expense=accounts['expense'],
        account_revenue=accounts['revenue'])
    goods.save()
    taxed = Category(name='Sales tax', accounting=True,
        account_expense=accounts['expense'],
        account_revenue=accounts['revenue'])
    taxed.customer_taxes.append(tax)
    taxed.save()
    create_payment_term().save()

    if seed['warehouse'] != 'WH':
        warehouse, = Model.get('stock.location').find([('code', '=', 'WH')])
        warehouse.code = seed['warehouse']
        warehouse.save()

    unit, = Model.get('product.uom').find([('name', '=', 'Unit')])
    Template = Model.get('product.template')
    for service in seed['services']:
        template = Template(
            name=service['title'], code=service['code'], type='service',
            default_uom=unit, salable=True, list_price=Decimal(0),
            account_category=taxed if service['taxed'] else goods)
        template.save()


def countries(rows):
    Country = Model.get('country.country')
    Subdivision = Model.get('country.subdivision')
    for row in rows:
        found = Country.find([('code', '=', row['code'])])
        country = found[0] if found else Country(
            name=row['name'], code=row['code'])
        country.save()
        for kind, codes in row.get('subdivisions', {}).items():
            Subdivision.save([
                Subdivision(country=country, name=code,
                    code=row['code'] + '-' + code, type=kind)
                for code in codes])


def products(cfg, seed):
    cfg._context = Model.get('res.user').get_preferences(True, {})
    context = cfg._context
    category, = Model.get('product.category').find([('name', '=', 'Sales')])
    unit, = Model.get('product.uom').find([('name', '=', 'Unit')])
    storage = Model.get('stock.location').find(
        [('code', '=', seed['warehouse'])])[0].storage_location
    Template = Model.get('product.template')
    Product = Model.get('product.product')
    Inventory = Model.get('stock.inventory')
    company = context['company']
    # Through the server's own create rather than one record at a time: a
    # thousand products take seconds. SQLite's parser gives up on the check
    # for uniqueness that Tryton makes of many more at once.
    rows = seed['products']
    for start in range(0, len(rows), 50):
        part = rows[start:start + 50]
        Template._proxy.create([{
                    'name': row['title'] or row['sku'],
                    'code': row['sku'],
                    'type': 'goods',
                    'default_uom': unit.id,
                    'salable': True,
                    'sale_uom': unit.id,
                    'list_price': Decimal(row['price'] or '0'),
                    'account_category': category.id,
                    'products': [('create', [{
                                    'cost_price': Decimal(0),
                                    }])],
                    } for row in part], context)
        found = Product._proxy.search_read(
            [('code', 'in', [row['sku'] for row in part])],
            0, None, None, ['code'], context)
        ids = {p['code']: p['id'] for p in found}
        lines = [
            {'product': ids[row['sku']], 'quantity': float(row['stock'])}
            for row in part if row['stock']]
        if lines:
            created = Inventory._proxy.create([{
                        'location': storage.id,
                        'date': dt.date.today(),
                        'company': company,
                        'lines': [('create', lines)],
                        }], context)
            Inventory._proxy.confirm(created, context)


def main():
    step, conf, database, path = sys.argv[1:5]
    with open(path, encoding='utf-8') as file:
        seed = json.load(file)
    cfg = config.set_trytond(
        database=database, user='admin', config_file=conf)
    {'base': base, 'products': products}[step](cfg, seed)


main()
